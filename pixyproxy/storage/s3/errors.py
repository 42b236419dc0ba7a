"""Translates the errors of an S3 server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3.exceptions
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from pixyproxy.core.exceptions import ObjectNotFoundError, PixyProxyException, StorageError, StorageUnavailableError

# Codes of a server that is unavailable, or that refuses us for now. Every other code is a fault.
UNAVAILABLE = frozenset(
    {
        *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "RequestTimeTooSkewed"),
        *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        *("TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded", "OperationAborted"),
        # The answer to a HEAD has no body: the status stands for the code. An expired token gets 400.
        *("NoSuchBucket", "400", "403", "429", "500", "502", "503", "504"),
    }
)
MISSING = frozenset({"NoSuchKey", "404", "InvalidRange", "416"})
"""No such object, or it has no such bytes."""
WRONG_REGION = frozenset(
    {
        *("PermanentRedirect", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"),
        "IllegalLocationConstraintException",
    }
)
"""The request was signed for, or sent to, another region than the bucket's."""


def wrong_region_error(reason: str, *, region: str | None) -> StorageUnavailableError:
    """The error that names the setting, and the bucket's region if the server said it."""
    bucket = "the bucket's region" if region is None else f"{region}, the bucket's region"
    return StorageUnavailableError(f"{reason}: set PIXYPROXY_S3_REGION to {bucket}.")


def meaning(error: ClientError) -> PixyProxyException:
    """Our exception for an error of the server: no such object, unavailable, or a fault of ours."""
    response: dict[str, Any] = {**error.response}
    refusal, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = refusal.get("Code", ""), metadata.get("HTTPStatusCode", 0)
    region = refusal.get("Region") or metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if code in MISSING:
        return ObjectNotFoundError("The bucket holds no such object.")
    if code in WRONG_REGION or (code == "301" and region):
        return wrong_region_error(f"The storage refused the request ({code})", region=region)
    if code in UNAVAILABLE or status == 429 or status >= 500:
        return StorageUnavailableError(f"The storage refused the request ({code}).")
    return StorageError()


@contextmanager
def s3_errors() -> Iterator[None]:
    """Every error that leaves the block is one of ours, chained to the library's."""
    try:
        yield
    except ClientError as error:
        raise meaning(error) from error
    except ParamValidationError as error:  # a bug of ours: nothing was asked
        raise StorageError from error
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise StorageUnavailableError("The storage does not answer.") from error
