"""Secrets and words that the tests put in every place, and that must never stand in the log."""

UPSTREAM_KEY = "sk-planted-upstream-key-0123456789"
DATABASE_PASSWORD = "planted-database-password"
S3_ACCESS_KEY = "planted-access-key"
S3_SECRET = "planted-s3-secret-key-0123456789"
API_KEY = "planted-configured-api-key-0123456789"
PROMPT = "planted prompt of a lighthouse"

SECRETS = (UPSTREAM_KEY, DATABASE_PASSWORD, S3_SECRET, API_KEY, PROMPT)
