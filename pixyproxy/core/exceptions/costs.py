"""What an exception says about money: before Draw nothing was spent."""

from collections.abc import Iterator
from contextlib import contextmanager

from pixyproxy.core.exceptions.internal import InternalError
from pixyproxy.core.exceptions.root import PixyProxyException


@contextmanager
def nothing_spent() -> Iterator[None]:
    """Errors from the block get the cost `none`: the upstream was not asked yet."""
    try:
        yield
    except PixyProxyException as error:
        if error.cost is not None:
            error.cost = "none"
        raise
    except Exception as error:
        fault: PixyProxyException = InternalError()
        fault.cost = "none"
        raise fault from error
