"""What an Idempotency-Key can end in."""

from pixyproxy.core.exceptions.root import PixyProxyException


class InvalidIdempotencyKeyError(PixyProxyException):
    """The Idempotency-Key cannot be used as one."""

    status = 400
    name = "invalid-idempotency-key"
    title = "The Idempotency-Key cannot be used"

    default_detail = "Send one Idempotency-Key of 1 to 255 printable ASCII characters, quoted or bare; a UUID is good."


class ImageDeletedError(PixyProxyException):
    """The image that an earlier request with this Idempotency-Key bought was deleted since."""

    status = 410
    name = "image-deleted"
    title = "The image of this Idempotency-Key was deleted"


class GenerationRunningError(PixyProxyException):
    """A generation with this Idempotency-Key is running; `generation` is its guid."""

    status = 409
    name = "generation-running"
    title = "A generation with this Idempotency-Key is running"


class OutcomeUnknownError(PixyProxyException):
    """The upstream may have drawn and billed what this Idempotency-Key asked for: it is not bought again."""

    status = 409
    name = "outcome-unknown"
    title = "It may have been drawn and billed"


class IdempotencyKeyReusedError(PixyProxyException):
    """This Idempotency-Key came with another request before."""

    status = 422
    name = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"

    default_detail = "This Idempotency-Key came with another body before: take a new key for a new request."
