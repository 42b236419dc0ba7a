"""The request log and the form of all log lines."""
