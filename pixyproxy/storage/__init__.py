"""The bytes of pictures, in a folder or an S3-compatible bucket."""
