"""A part of the service does not answer, or takes no work now."""

from collections.abc import Mapping

from pixyproxy.core.exceptions.root import RETRY_AFTER, Cost, PixyProxyException


class UnavailableError(PixyProxyException):
    """A part does not answer. As an answer to POST /image: nothing was spent, and trying again later is right."""

    status = 503
    name = "unavailable"
    title = "A part of the service does not answer"
    cost: Cost | None = "none"
    default_retry_after = RETRY_AFTER


class DatabaseUnavailableError(UnavailableError):
    """The database does not answer, is shutting down, is read-only, or is too busy."""

    name = "database-unavailable"
    title = "The database does not answer"


class StorageUnavailableError(UnavailableError):
    """The storage does not answer or refuses us."""

    name = "storage-unavailable"
    title = "The storage does not answer"


class StorageMismatchError(UnavailableError):
    """The storage belongs to another database: objects written now would later be removed as orphans."""

    name = "storage-mismatch"
    title = "The storage belongs to another database"


class UpstreamUnavailableError(UnavailableError):
    """The upstream cannot be reached, or asked us to wait: nothing was drawn or billed."""

    name = "upstream-unavailable"
    title = "The upstream takes no request now"


class TooManyGenerationsError(UnavailableError):
    """This process already runs as many generations as it may."""

    name = "too-many-generations"
    title = "Too many generations are running"


class UploadsFullError(UnavailableError):
    """The uploads of this process use all the room they may have, or their disk is full."""

    name = "uploads-full"
    title = "There is no room for more uploads"
    default_detail = "The uploads of other requests fill the room for uploads; try again soon."


class TooManyThumbnailsError(UnavailableError):
    """So many thumbnails are waited for that this one is not made now, or no process can be started that makes it."""

    name = "too-many-thumbnails"
    title = "Too many thumbnails are being made"
    default_detail = "Newer requests for thumbnails took the place of this one; try again soon."


class UsageNotReadyError(UnavailableError):
    """Days of the usage are left to be added up for the first time; each further request adds up some of them."""

    name = "usage-not-ready"
    title = "The usage is being added up"


class TooManyConnectionsError(UnavailableError):
    """This process has as many connections as it may."""

    name = "too-many-connections"
    title = "Too many connections are open"
    default_detail = "This process has as many connections as it may; try again soon."


class ShuttingDownError(UnavailableError):
    """This process finishes what is running and begins nothing."""

    name = "shutting-down"
    title = "This process is shutting down"

    default_detail = "This process is shutting down; another one, or the next, takes the request."


class NotReadyError(UnavailableError):
    """The answer of /readyz: these parts failed, each with the title of its error."""

    name = "not-ready"
    title = "The service cannot work now"
    cost = None

    def __init__(self, failures: Mapping[str, PixyProxyException]) -> None:
        parts = sorted(failures)
        super().__init__(f"Not ready: {'; '.join(f'{part} ({failures[part].title})' for part in parts)}.")
        self.extra["failed"] = parts
