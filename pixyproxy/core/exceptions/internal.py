"""Faults of ours, of the configuration, and of the stores."""

from pixyproxy.core.exceptions.root import PixyProxyException


class ImageContentLostError(PixyProxyException):
    """The image is recorded, but its bytes are not in the storage."""

    status = 502
    name = "image-content-lost"
    title = "The image's bytes are not in the storage"


class ConfigurationError(PixyProxyException):
    """A setting is wrong or missing; `detail` names it. It stops the start and is never an HTTP answer."""

    name = "configuration"
    title = "The configuration is wrong"


class ObjectNotFoundError(PixyProxyException):
    """The storage holds no object under this key. The service decides what that means."""


class InternalError(PixyProxyException):
    """A fault of ours; the log has the details under the request-id."""

    cost = "unknown"
    default_detail = "Something went wrong on our side."


class DatabaseError(InternalError):
    """The database refused a statement: a fault in our SQL, our schema or our rights."""


class StorageError(InternalError):
    """The storage refused a request in a way that waiting does not fix."""


class DamagedMarkError(StorageError):
    """The mark of the storage holds no id of a database, so that nobody knows to which one its objects belong."""
