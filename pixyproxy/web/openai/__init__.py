"""OpenAI's dialect below /v1. It only translates; the services do the work."""
