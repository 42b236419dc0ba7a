"""What a caller may do. Every service that serves callers asks here, so every dialect has the same rights."""

from pixyproxy.core.exceptions import NotAllowedError
from pixyproxy.core.keys import Caller, Scope


def require(caller: Caller, scope: Scope) -> None:
    """`NotAllowedError`, which names the scope, if the caller has neither it nor one that includes it."""
    if not caller.may(scope):
        raise NotAllowedError(scope)


def sees_all_costs(caller: Caller) -> bool:
    """Whether the caller may know what others spend."""
    return caller.may(Scope.READ_ALL) or caller.may(Scope.ADMIN)
