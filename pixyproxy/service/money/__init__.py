"""What generations cost: expected before, reckoned after."""
