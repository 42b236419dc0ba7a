"""The address of a bucket, and those that requests are sent to."""

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


class Url:
    """A URL, split for requests. It is sent as it is: quoting it again would break its signature."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.login, _, netloc = parts.netloc.rpartition("@")
        self.host = netloc.lower().removesuffix(":443" if self.secure else ":80")  # as botocore signs it
        self.address = (parts.hostname or "", parts.port or (443 if self.secure else 80))
        self.target = parts.path + (f"?{parts.query}" if parts.query else "")
