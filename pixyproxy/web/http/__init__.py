"""What HTTP itself asks for: conditions, ranges, preferences, links."""
