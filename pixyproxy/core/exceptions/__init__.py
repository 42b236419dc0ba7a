"""Every exception that PixyProxy raises, and what HTTP says of each.

PixyProxyException
 ├─ InvalidRequestError                422  the request's body or parameters break a rule
 │   └─ UnsupportedFileError           415  an image of the request is neither PNG, WebP nor JPEG
 ├─ ModelNotFoundError                 422  the request names a model that is not offered
 ├─ SearchTooSlowError                 422  the search took longer than the database may work on it
 ├─ ThumbnailImpossibleError           422  the image cannot be decoded, or not within the limits
 ├─ MalformedRequestError              400  the request cannot be read as HTTP or as JSON
 ├─ ClientLeftError                    400  the client left before anything was spent; only the log has it
 ├─ InvalidIdempotencyKeyError         400  the Idempotency-Key is empty, too long, or no printable ASCII
 ├─ RequestTimeoutError                408  the body did not arrive in time
 ├─ UnsupportedMediaTypeError          415  the body is not JSON
 ├─ PreconditionFailedError            412  If-Match or If-Unmodified-Since does not hold
 ├─ PayloadTooLargeError               413  the body is over the limit
 ├─ RangeNotSatisfiableError           416  the picture has none of the bytes that Range asks for
 ├─ HeaderTooLargeError                431  the request's head is over the limit
 ├─ BudgetExhaustedError               402  a budget has less left than the generation is expected to cost
 ├─ PriceUnknownError                  402  a key with a budget asks for a model without a price
 ├─ RateLimitedError                   429  the key begins more generations than it may
 ├─ HttpNotImplementedError            501  the server does not know this method or transfer coding
 ├─ AuthenticationError                401  no API key, or not a valid one
 │   └─ LoginCodeError                401  a login code is wrong, was used before, or has expired
 ├─ CrossSiteError                     403  a page of another origin sent a request with the cookie of a session
 ├─ OriginNotAllowedError              403  a page of another origin sent the request to /mcp
 ├─ NotAllowedError                    403  the API key lacks the scope that this request needs
 ├─ NotFoundError                      404  nothing is at this URL
 │   ├─ ImageNotFoundError             404  no image has this guid
 │   ├─ GenerationNotFoundError        404  no generation has this guid
 │   └─ KeyNotFoundError               404  no API key has this name
 ├─ ImageDeletedError                  410  the image that this Idempotency-Key bought was deleted
 ├─ MethodNotAllowedError              405  the URL exists, the method does not
 ├─ ConflictError                      409  the change collides with what is recorded
 ├─ GenerationRunningError             409  a generation with this Idempotency-Key is running
 ├─ OutcomeUnknownError                409  what this Idempotency-Key asked for may have been drawn and billed
 ├─ IdempotencyKeyReusedError          422  this Idempotency-Key came with another request before
 ├─ UnavailableError                   503  a part does not answer; nothing was spent; try again
 │   ├─ DatabaseUnavailableError
 │   ├─ StorageUnavailableError
 │   ├─ StorageMismatchError                the storage belongs to another database
 │   ├─ UpstreamUnavailableError            the upstream cannot be reached, or asked us to wait
 │   ├─ TooManyGenerationsError             this process runs as many generations as it may
 │   ├─ UploadsFullError                    there is no room for more uploads
 │   ├─ TooManyThumbnailsError              more thumbnails are waited for than may be
 │   ├─ UsageNotReadyError                  days of the usage are left to be added up for the first time
 │   ├─ TooManyConnectionsError             this process has as many connections as it may
 │   ├─ ShuttingDownError                   this process ends
 │   └─ NotReadyError                       /readyz: names the parts that failed
 ├─ UpstreamRefusedError               422  the upstream refused this prompt or these parameters
 ├─ UpstreamError                      502  the upstream failed
 │   ├─ UpstreamCredentialsError            our key for the upstream is wrong or may not do this
 │   ├─ UpstreamAddressError                OPENAI_BASE_URL leads to no Images API
 │   ├─ UpstreamAnswerError                 the upstream answered with something that is no picture
 │   └─ UpstreamUnknownOutcomeError         the answer was lost: it may have drawn and billed
 ├─ UpstreamDeadlineError              504  no answer within the deadline: it may have drawn and billed
 ├─ GenerationInterruptedError         502  its process died, and no picture was found
 ├─ ImageContentLostError              502  the row exists, its bytes do not
 ├─ ConfigurationError                 (start) a setting is wrong or missing
 ├─ ObjectNotFoundError                (storage) no object has this key; the service decides what it means
 └─ InternalError                      500  a fault of ours
     ├─ DatabaseError                       the database refused a statement
     └─ StorageError                        the storage refused a request
         └─ DamagedMarkError                its mark holds no id of a database

Each class carries the HTTP status, the problem's name (the last part of its RFC 9457 `type`) and its title, and
where it can end a generation, what that cost.
"""

from pixyproxy.core.exceptions.budgets import BudgetExhaustedError, PriceUnknownError, RateLimitedError
from pixyproxy.core.exceptions.documents import error_from_document
from pixyproxy.core.exceptions.idempotency import (
    GenerationRunningError,
    IdempotencyKeyReusedError,
    ImageDeletedError,
    InvalidIdempotencyKeyError,
    OutcomeUnknownError,
)
from pixyproxy.core.exceptions.internal import (
    ConfigurationError,
    DamagedMarkError,
    DatabaseError,
    ImageContentLostError,
    InternalError,
    ObjectNotFoundError,
    StorageError,
)
from pixyproxy.core.exceptions.parts import (
    DatabaseUnavailableError,
    NotReadyError,
    ShuttingDownError,
    StorageMismatchError,
    StorageUnavailableError,
    TooManyConnectionsError,
    TooManyGenerationsError,
    TooManyThumbnailsError,
    UnavailableError,
    UploadsFullError,
    UpstreamUnavailableError,
    UsageNotReadyError,
)
from pixyproxy.core.exceptions.request import (
    AuthenticationError,
    ClientLeftError,
    ConflictError,
    CrossSiteError,
    GenerationNotFoundError,
    HeaderTooLargeError,
    HttpNotImplementedError,
    ImageNotFoundError,
    InvalidRequestError,
    LoginCodeError,
    MalformedRequestError,
    MethodNotAllowedError,
    ModelNotFoundError,
    NotFoundError,
    OriginNotAllowedError,
    PayloadTooLargeError,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    RequestTimeoutError,
    SearchTooSlowError,
    ThumbnailImpossibleError,
    UnsupportedFileError,
    UnsupportedMediaTypeError,
)
from pixyproxy.core.exceptions.rights import KeyNotFoundError, NotAllowedError
from pixyproxy.core.exceptions.root import RETRY_AFTER, TYPE_PREFIX, Cost, PixyProxyException
from pixyproxy.core.exceptions.upstream import (
    GenerationInterruptedError,
    UpstreamAddressError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnknownOutcomeError,
)

__all__ = [
    "RETRY_AFTER",
    "TYPE_PREFIX",
    "AuthenticationError",
    "BudgetExhaustedError",
    "ClientLeftError",
    "ConfigurationError",
    "ConflictError",
    "Cost",
    "CrossSiteError",
    "DamagedMarkError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "GenerationInterruptedError",
    "GenerationNotFoundError",
    "GenerationRunningError",
    "HeaderTooLargeError",
    "HttpNotImplementedError",
    "IdempotencyKeyReusedError",
    "ImageContentLostError",
    "ImageDeletedError",
    "ImageNotFoundError",
    "InternalError",
    "InvalidIdempotencyKeyError",
    "InvalidRequestError",
    "KeyNotFoundError",
    "LoginCodeError",
    "MalformedRequestError",
    "MethodNotAllowedError",
    "ModelNotFoundError",
    "NotAllowedError",
    "NotFoundError",
    "NotReadyError",
    "ObjectNotFoundError",
    "OriginNotAllowedError",
    "OutcomeUnknownError",
    "PayloadTooLargeError",
    "PixyProxyException",
    "PreconditionFailedError",
    "PriceUnknownError",
    "RangeNotSatisfiableError",
    "RateLimitedError",
    "RequestTimeoutError",
    "SearchTooSlowError",
    "ShuttingDownError",
    "StorageError",
    "StorageMismatchError",
    "StorageUnavailableError",
    "ThumbnailImpossibleError",
    "TooManyConnectionsError",
    "TooManyGenerationsError",
    "TooManyThumbnailsError",
    "UnavailableError",
    "UnsupportedFileError",
    "UnsupportedMediaTypeError",
    "UploadsFullError",
    "UpstreamAddressError",
    "UpstreamAnswerError",
    "UpstreamCredentialsError",
    "UpstreamDeadlineError",
    "UpstreamError",
    "UpstreamRefusedError",
    "UpstreamUnavailableError",
    "UpstreamUnknownOutcomeError",
    "UsageNotReadyError",
    "error_from_document",
]
