"""uvicorn, set up for us: bounds for connections, draining, start."""
