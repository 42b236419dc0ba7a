"""HTTP: routes, authentication, the request log and the one exception handler."""
