"""The usage over HTTP: what generations add up to."""
