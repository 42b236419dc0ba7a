"""The routes of images in our own dialect."""
