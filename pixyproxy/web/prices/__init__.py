"""The route of the prices."""
