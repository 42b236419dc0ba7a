"""What is wrong with a request, or with what it names."""

from pixyproxy.core.exceptions.root import PixyProxyException


class InvalidRequestError(PixyProxyException):
    """The request's body or parameters break a rule; `errors` holds a {detail, pointer} for each."""

    status = 422
    name = "invalid-request"
    title = "The request breaks a rule"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(
            "The request was understood, but it breaks a rule; 'errors' names each.", extra={"errors": errors}
        )


class UnsupportedFileError(InvalidRequestError):
    """An image of the request is neither PNG, WebP nor JPEG, by its bytes; `errors` names its field."""

    status = 415
    name = "unsupported-file"
    title = "The image's type is not supported"


class ModelNotFoundError(PixyProxyException):
    """The request names a model that this service does not offer."""

    status = 422
    name = "model-not-found"
    title = "This service does not offer the model"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' is not offered here; GET /v1/models lists those that are.")


class MalformedRequestError(PixyProxyException):
    """The request cannot be read as HTTP or as JSON."""

    status = 400
    name = "malformed-request"
    title = "The request cannot be read"


class ClientLeftError(PixyProxyException):
    """The client left before anything was spent on its request. Nobody reads this answer; the log names it."""

    status = 400
    name = "client-left"
    title = "The client left"
    cost = "none"

    default_detail = "The client left before the upstream was asked."


class OriginNotAllowedError(PixyProxyException):
    """A page of another origin sent the request to /mcp."""

    status = 403
    name = "origin-not-allowed"
    title = "Pages of this origin may not send this"

    default_detail = "The header 'Origin' is not the origin of this service. Clients other than browsers send none."


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


class PreconditionFailedError(PixyProxyException):
    """The resource does not meet the request's condition (RFC 9110, section 13.1)."""

    status = 412
    name = "precondition-failed"
    title = "The precondition does not hold"

    default_detail = "If-Match or If-Unmodified-Since asks for something else than what is at this URL."


class SearchTooSlowError(PixyProxyException):
    """The database ended a search that took too long. The same search again would end in the same way."""

    status = 422
    name = "search-too-slow"
    title = "The search takes too long"

    def __init__(self) -> None:
        super().__init__(
            "The database ended this search because it took too long. Ask for fewer entries with limit, or for "
            "words instead of a quoted phrase; or read the list without q, page by page, and search in it."
        )


class RangeNotSatisfiableError(PixyProxyException):
    """The range begins after the picture's end; the headers say its size (RFC 9110, section 15.5.17)."""

    status = 416
    name = "range-not-satisfiable"
    title = "The range cannot be served"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The picture has {size_bytes} bytes, and none of them in this range.")
        self._size_bytes = size_bytes

    @property
    def headers(self) -> dict[str, str]:
        """The size of the whole picture, so that the client can ask for a range that exists."""
        return {**super().headers, "Content-Range": f"bytes */{self._size_bytes}"}


class ThumbnailImpossibleError(PixyProxyException):
    """No thumbnail can be made of this image: it cannot be decoded, or not within the limits."""

    status = 422
    name = "thumbnail-impossible"
    title = "No thumbnail can be made of this image"

    def __init__(self, detail: str = "", *, refused: bool = True) -> None:
        """`refused`: the decoder said so. Otherwise it was ended, which the load of the machine can cause, too."""
        super().__init__(detail)
        self.refused = refused


class HeaderTooLargeError(PixyProxyException):
    """The request's head is over the limit."""

    status = 431
    name = "header-too-large"
    title = "The request's head is too large"


class HttpNotImplementedError(PixyProxyException):
    """A method or a transfer coding that the server does not know (RFC 9110, section 15.6.2)."""

    status = 501
    name = "not-implemented"
    title = "The server does not know this method or coding"


class AuthenticationError(PixyProxyException):
    """The request has no API key, or an invalid one; the answer never says which."""

    status = 401
    name = "unauthorized"
    title = "A valid API key is needed"

    default_detail = "Send one header 'Authorization: Bearer <key>' with a valid PixyProxy API key."

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 11.6.1: a 401 names the scheme that would be accepted."""
        return {"WWW-Authenticate": "Bearer"}


class LoginCodeError(AuthenticationError):
    """A login code is wrong, was used before, or has expired; the answer never says which."""

    name = "login-code"
    title = "The login code is not valid"

    default_detail = "A login code is good once and for 15 minutes. 'pixyproxy login' makes another one."


class CrossSiteError(PixyProxyException):
    """A page of another origin, or a client that does not say which, sent a request with the cookie of a session."""

    status = 403
    name = "cross-site"
    title = "Pages of other origins may not send this"
    cost = "none"

    default_detail = (
        "A request with the cookie of the page must come from the page: with 'Sec-Fetch-Site: same-origin', or without "
        "that header with the 'Origin' of this service. Other clients send 'Authorization: Bearer <key>'."
    )


class NotFoundError(PixyProxyException):
    """Nothing is at this URL."""

    status = 404
    name = "not-found"
    title = "Nothing is here"


class ImageNotFoundError(NotFoundError):
    """No image has this guid."""

    name = "image-not-found"
    title = "There is no such image"

    default_detail = (
        "No image has this guid. It may have been deleted, or the URL was copied incompletely: "
        "a guid is a UUID of 36 characters, in lower case."
    )


class GenerationNotFoundError(NotFoundError):
    """No generation has this guid."""

    name = "generation-not-found"
    title = "There is no such generation"

    default_detail = "No generation has this guid: a guid is a UUID of 36 characters."


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
