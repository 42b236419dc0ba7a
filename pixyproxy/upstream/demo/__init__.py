"""The demo upstream: an OpenAI-compatible images server without a model."""
