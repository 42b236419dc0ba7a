"""The upstream: the OpenAI-compatible Images API that draws, and the demo that stands in for it."""
