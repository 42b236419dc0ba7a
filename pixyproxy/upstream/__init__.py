"""The upstream: OpenAI's Images API, and the demo that stands in for it."""
