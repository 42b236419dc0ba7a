"""Makes thumbnails in a process of its own, and keeps them beside their images."""
