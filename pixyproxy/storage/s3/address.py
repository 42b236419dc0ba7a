"""The address of a bucket."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pixyproxy.core.exceptions import ConfigurationError


@dataclass(frozen=True)
class BucketAddress:
    """A bucket, and the prefix of the keys in it ('' or 'some/prefix/')."""

    bucket: str
    prefix: str


def parse_url(url: str) -> BucketAddress:
    """The bucket of `s3://bucket` or `s3://bucket/prefix`; `ConfigurationError` says what is wrong."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or parts.query or parts.fragment or parts.netloc != parts.hostname:
        raise ConfigurationError("it must be s3://bucket, s3://bucket/prefix or file:/folder")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
        raise ConfigurationError("a bucket's name has 3 to 63 characters of a-z, 0-9, '.' and '-'")
    prefix = parts.path.strip("/")
    return BucketAddress(bucket=parts.netloc, prefix=f"{prefix}/" if prefix else "")
