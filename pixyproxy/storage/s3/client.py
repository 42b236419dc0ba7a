"""Makes S3 clients and the storage over them from the settings' plain values."""

import os
import ssl
from typing import TYPE_CHECKING, Literal

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.limits import S3, S3Limits
from pixyproxy.storage.s3.address import parse_url
from pixyproxy.storage.s3.connecting import Route
from pixyproxy.storage.s3.connections import Connections
from pixyproxy.storage.s3.storage import Patience, S3ImageStorage

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Addressing = Literal["auto", "path", "virtual"]


def open_s3_storage(
    url: str, *, endpoint_url: str | None, region: str, addressing: Addressing = "auto", limits: S3Limits = S3
) -> S3ImageStorage:
    """The storage of an `s3://` URL, with credentials from boto3's own chain.

    `addressing` says where the bucket's name stands: in the path, in the host's name (`virtual`), or, with `auto`, in
    the path at an endpoint of its own and in the host's name at AWS.

    Raises `ConfigurationError` if the URL is wrong or the chain finds no credentials.
    """
    address = parse_url(url)
    try:
        core = botocore.session.get_session()
        session = boto3.Session(region_name=region, botocore_session=core)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise ConfigurationError(f"the AWS credentials cannot be used: {type(error).__name__}") from error
    if credentials is None:
        raise ConfigurationError(
            "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give an instance role"
        )

    style: Literal["path", "virtual"] = addressing if addressing != "auto" else "path" if endpoint_url else "virtual"

    def client(patience: Patience) -> "S3Client":
        config = Config(
            signature_version="s3v4",  # for a custom endpoint boto3 would presign with SigV2
            # boto3's "auto" would presign for the endpoint of all regions, which redirects for hours after a bucket was
            # made.
            s3={"addressing_style": style},
            connect_timeout=limits.connect,
            read_timeout=patience.read_timeout,
            retries={"mode": "standard", "total_max_attempts": patience.attempts},
            max_pool_connections=limits.connections,
        )
        return session.client("s3", endpoint_url=endpoint_url, config=config)

    try:
        authorities = core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")  # as botocore does
        route = Route(
            proxy=proxy_to(client(Patience(read_timeout=limits.probe, attempts=1)).meta.endpoint_url),
            tls=ssl.create_default_context(cafile=authorities) if authorities else None,
        )
        connections = Connections(route, limits=limits)
        return S3ImageStorage(
            client, credentials.get_frozen_credentials, address=address, connections=connections, limits=limits
        )
    except OSError as error:
        raise ConfigurationError("the file that AWS_CA_BUNDLE names cannot be used") from error
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"its endpoint or region cannot be used: {type(error).__name__}") from error


def proxy_to(url: str) -> str | None:
    """The proxy that the environment names for this URL, as botocore reads it."""
    found: str | None = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    return found
