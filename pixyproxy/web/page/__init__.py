"""The page for people at `/`: how its files are served. The files themselves are in `files/`."""
