"""What the answers of an S3 server mean to us."""

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from pixyproxy.core.exceptions import ObjectNotFoundError, StorageError, StorageUnavailableError

# What the server says when it, or our right to use it, is away for now. Everything else is a fault.
UNAVAILABLE = frozenset(
    {
        *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "RequestTimeTooSkewed"),
        *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        *("TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded", "OperationAborted"),
        # A HEAD has no body: the status stands for the code. 400 is what an expired token gets.
        *("NoSuchBucket", "400", "403", "429", "500", "502", "503", "504"),
    }
)
MISSING = frozenset({"NoSuchKey", "404", "InvalidRange", "416"})
"""No such object, or it has no such bytes."""


@contextmanager
def s3_errors() -> Iterator[None]:
    """Exactly two answers of a server have a meaning of their own: no such object, and unavailable."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in MISSING:
            raise ObjectNotFoundError("The bucket holds no such object.") from error
        if code in UNAVAILABLE or status == 429 or status >= 500:
            raise StorageUnavailableError(f"The storage refused the request ({code}).") from error
        raise StorageError from error
    except ParamValidationError as error:  # a bug of ours: nothing was asked
        raise StorageError from error
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise StorageUnavailableError("The storage does not answer.") from error
