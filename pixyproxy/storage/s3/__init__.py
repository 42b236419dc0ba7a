"""The bytes in an S3-compatible bucket."""
