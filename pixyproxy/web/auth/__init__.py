"""Authentication: who makes a private request."""
