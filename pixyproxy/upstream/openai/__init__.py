"""The upstream through the official openai client."""
