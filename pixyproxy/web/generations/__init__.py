"""The routes of generations in our own dialect."""
