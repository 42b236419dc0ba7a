"""Every exception that PixyProxy raises, and what HTTP says of each.

PixyProxyException
 ├─ InvalidRequestError                422  the request's body or parameters break a rule
 ├─ MalformedRequestError              400  the request cannot be read as HTTP or as JSON
 ├─ RequestTimeoutError                408  the body did not arrive in time
 ├─ UnsupportedMediaTypeError          415  the body is not JSON
 ├─ PayloadTooLargeError               413  the body is over the limit
 ├─ HeaderTooLargeError                431  the request's head is over the limit
 ├─ AuthenticationError                401  no API key, or not a valid one
 ├─ NotFoundError                      404  nothing is at this URL
 │   └─ ImageNotFoundError             404  no image has this guid
 ├─ MethodNotAllowedError              405  the URL exists, the method does not
 ├─ ConflictError                      409  the change collides with what is recorded
 ├─ UnavailableError                   503  a part does not answer; nothing was spent; try again
 │   ├─ DatabaseUnavailableError
 │   ├─ StorageUnavailableError
 │   ├─ UpstreamUnavailableError            the upstream cannot be reached, or asked us to wait
 │   ├─ TooManyGenerationsError             this process runs as many generations as it may
 │   └─ NotReadyError                       /readyz: names the parts that do not answer
 ├─ UpstreamRefusedError               422  the upstream refused this prompt or these parameters
 ├─ UpstreamError                      502  the upstream failed
 │   ├─ UpstreamCredentialsError            our key for the upstream is wrong or may not do this
 │   ├─ UpstreamAnswerError                 the upstream answered with something that is no picture
 │   └─ UpstreamUnknownOutcomeError         the answer was lost: it may have drawn and billed
 ├─ UpstreamDeadlineError              504  no answer within the deadline: it may have drawn and billed
 ├─ ImageContentLostError              502  the row exists, its bytes do not
 ├─ PictureNotKeptError                500  drawn and paid for, but storage or database failed afterwards
 ├─ ConfigurationError                 (start) a setting is wrong or missing
 ├─ ObjectNotFoundError                (storage) no object has this key; the service decides what it means
 └─ InternalError                      500  a fault of ours
     ├─ DatabaseError                       the database refused a statement
     └─ StorageError                        the storage refused a request

Each class carries the HTTP status, the problem's name (the last part of its RFC 9457 `type`) and its title.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class PixyProxyException(Exception):  # noqa: N818 -- the root has the product's name
    """The root: `detail` is said to the client, `extra` are further members of the problem."""

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, retry_after: int | None = None, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.extra = dict(extra or {})

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the answer must carry besides its body."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    @property
    def type(self) -> str:
        """The problem's `type` (RFC 9457, section 3.1.1), the same in every deployment."""
        return f"urn:pixyproxy:problem:{self.name}"

    def document(self, *, request_id: str | None = None) -> dict[str, Any]:
        """The RFC 9457 problem: of one request, or, without its id, as it is recorded."""
        occurrence = {"instance": f"urn:pixyproxy:request:{request_id}", "request_id": request_id} if request_id else {}
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **occurrence,
            **self.extra,
        }


class InvalidRequestError(PixyProxyException):
    """The request's body or parameters break a rule; `errors` holds a {detail, pointer} for each."""

    status = 422
    name = "invalid-request"
    title = "The request breaks a rule"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(
            "The request was understood, but it breaks a rule; 'errors' names each.", extra={"errors": errors}
        )


class MalformedRequestError(PixyProxyException):
    """The request cannot be read as HTTP or as JSON."""

    status = 400
    name = "malformed-request"
    title = "The request cannot be read"


class RequestTimeoutError(PixyProxyException):
    """The body did not arrive in time."""

    status = 408
    name = "request-timeout"
    title = "The request took too long to arrive"


class UnsupportedMediaTypeError(PixyProxyException):
    """The body is not declared to be JSON."""

    status = 415
    name = "unsupported-media-type"
    title = "The body must be JSON"


class PayloadTooLargeError(PixyProxyException):
    """The body is over the limit."""

    status = 413
    name = "payload-too-large"
    title = "The body is too large"


class HeaderTooLargeError(PixyProxyException):
    """The request's head is over the limit."""

    status = 431
    name = "header-too-large"
    title = "The request's head is too large"


class AuthenticationError(PixyProxyException):
    """No API key came, or one that is not valid; the cause is never told apart."""

    status = 401
    name = "unauthorized"
    title = "A valid API key is needed"

    def __init__(self) -> None:
        super().__init__("Send one header 'Authorization: Bearer <key>' with a valid PixyProxy API key.")

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 11.6.1: a 401 names the scheme that would be accepted."""
        return {"WWW-Authenticate": "Bearer"}


class NotFoundError(PixyProxyException):
    """Nothing is at this URL."""

    status = 404
    name = "not-found"
    title = "Nothing is here"


class ImageNotFoundError(NotFoundError):
    """No image has this guid."""

    name = "image-not-found"
    title = "There is no such image"

    def __init__(self) -> None:
        super().__init__(
            "No image has this guid. It may have been deleted, or the URL was copied incompletely: "
            "a guid is a UUID of 36 characters."
        )


class MethodNotAllowedError(PixyProxyException):
    """The URL exists, but not for this method."""

    status = 405
    name = "method-not-allowed"
    title = "This method is not allowed here"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"This URL answers {', '.join(allowed)}.")
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 15.5.6: a 405 lists the methods that are allowed."""
        return {"Allow": ", ".join(self.allowed)}


class ConflictError(PixyProxyException):
    """The change collides with what is recorded: a name or a key that exists, a state that has moved on."""

    status = 409
    name = "conflict"
    title = "The change collides with what is recorded"


class UnavailableError(PixyProxyException):
    """A part does not answer. As an answer to POST /image: nothing was spent, and trying again later is right."""

    status = 503
    name = "unavailable"
    title = "A part of the service does not answer"

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail, retry_after=retry_after)


class DatabaseUnavailableError(UnavailableError):
    """The database does not answer, is shutting down, is read-only, or is too busy."""

    name = "database-unavailable"
    title = "The database does not answer"


class StorageUnavailableError(UnavailableError):
    """The storage does not answer or refuses us."""

    name = "storage-unavailable"
    title = "The storage does not answer"


class UpstreamUnavailableError(UnavailableError):
    """The upstream cannot be reached, or asked us to wait: nothing was drawn or billed."""

    name = "upstream-unavailable"
    title = "The upstream takes no request now"


class TooManyGenerationsError(UnavailableError):
    """This process already runs as many generations as it may."""

    name = "too-many-generations"
    title = "Too many generations are running"


class NotReadyError(UnavailableError):
    """The answer of /readyz: these parts do not answer."""

    name = "not-ready"
    title = "The service cannot work now"

    def __init__(self, parts: list[str]) -> None:
        super().__init__(f"These do not answer: {', '.join(parts)}.")
        self.extra["failed"] = parts


class UpstreamRefusedError(PixyProxyException):
    """The upstream refused this prompt (moderation) or these parameters, and said why."""

    status = 422
    name = "upstream-refused"
    title = "The upstream refused the request"


class UpstreamError(PixyProxyException):
    """The upstream failed."""

    status = 502
    name = "upstream-failed"
    title = "The upstream failed"


class UpstreamCredentialsError(UpstreamError):
    """Our key for the upstream is wrong, or may not do this."""

    name = "upstream-credentials"
    title = "PixyProxy's own upstream key was refused"


class UpstreamAnswerError(UpstreamError):
    """The upstream answered with success, but not with a picture that we keep."""

    name = "upstream-answer"
    title = "The upstream's answer holds no picture"


class UpstreamUnknownOutcomeError(UpstreamError):
    """The request was sent and its answer lost: the upstream may have drawn and billed."""

    name = "upstream-unknown-outcome"
    title = "The upstream's answer was lost"


class UpstreamDeadlineError(PixyProxyException):
    """The upstream did not answer within the deadline: it may have drawn and billed."""

    status = 504
    name = "upstream-deadline"
    title = "The upstream did not answer in time"


class ImageContentLostError(PixyProxyException):
    """The image is recorded, but its bytes are not in the storage."""

    status = 502
    name = "image-content-lost"
    title = "The image's bytes are not in the storage"


class PictureNotKeptError(PixyProxyException):
    """The picture was drawn and paid for, but storage or database failed afterwards; it stays `running`."""

    status = 500
    name = "picture-not-kept"
    title = "The picture was drawn, but could not be kept"


class ConfigurationError(PixyProxyException):
    """A setting is wrong or missing; `detail` names it. It stops the start and is never an HTTP answer."""

    name = "configuration"
    title = "The configuration is wrong"


class ObjectNotFoundError(PixyProxyException):
    """The storage holds no object under this key. The service decides what that means."""


class InternalError(PixyProxyException):
    """A fault of ours; the log holds what happened, under the request-id."""

    def __init__(self, detail: str = "Something went wrong on our side.") -> None:
        super().__init__(detail)


class DatabaseError(InternalError):
    """The database refused a statement: a fault in our SQL, our schema or our rights."""


class StorageError(InternalError):
    """The storage refused a request in a way that waiting does not mend."""
