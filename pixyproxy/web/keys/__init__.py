"""The routes of API keys: one's own, and for administrators all."""
