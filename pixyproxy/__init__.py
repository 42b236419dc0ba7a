"""PixyProxy: every generated image in your own bucket and database, at a URL that does not expire."""
