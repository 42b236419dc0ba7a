"""The parts of HTTP that all routes share: conditions, ranges, preferences, links."""
