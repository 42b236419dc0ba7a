"""Sessions of the page: logging in, who is logged in, logging out."""
