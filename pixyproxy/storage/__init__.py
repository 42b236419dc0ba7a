"""Bytes: where the pictures lie, a folder or an S3-compatible bucket."""
