"""What the product does, without HTTP, SQL or S3."""
