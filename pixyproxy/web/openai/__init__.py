"""OpenAI's dialect below /v1: it translates, and everything else is the services'."""
