"""What the upstream can end a generation with."""

from pixyproxy.core.exceptions.root import Cost, PixyProxyException


class UpstreamRefusedError(PixyProxyException):
    """The upstream refused this prompt (moderation) or these parameters, and said why."""

    status = 422
    name = "upstream-refused"
    title = "The upstream refused the request"
    cost = "none"


class UpstreamError(PixyProxyException):
    """The upstream failed."""

    status = 502
    name = "upstream-failed"
    title = "The upstream failed"
    cost: Cost | None = "unknown"


class UpstreamCredentialsError(UpstreamError):
    """Our key for the upstream is wrong, or may not do this."""

    name = "upstream-credentials"
    title = "PixyProxy's own upstream key was refused"
    cost = "none"


class UpstreamAddressError(UpstreamError):
    """OPENAI_BASE_URL leads to no Images API."""

    name = "upstream-address"
    title = "PixyProxy's upstream address is wrong"
    cost = "none"


class UpstreamAnswerError(UpstreamError):
    """The upstream answered with success, but not with a picture that we keep."""

    name = "upstream-answer"
    title = "The upstream's answer holds no picture"
    cost = "billed"


class UpstreamUnknownOutcomeError(UpstreamError):
    """The request was sent and its answer lost: the upstream may have drawn and billed."""

    name = "upstream-unknown-outcome"
    title = "The upstream's answer was lost"


class UpstreamDeadlineError(PixyProxyException):
    """The upstream did not answer within the deadline: it may have drawn and billed."""

    status = 504
    name = "upstream-deadline"
    title = "The upstream did not answer in time"
    cost = "unknown"


class GenerationInterruptedError(PixyProxyException):
    """The process that ran the generation died, and no picture of it was found."""

    status = 502
    name = "generation-interrupted"
    title = "The generation was interrupted"
    cost = "unknown"

    default_detail = (
        "The process that ran this generation ended before its picture was stored. "
        "The upstream may have drawn and billed."
    )
