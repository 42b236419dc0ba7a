"""What generations add up to."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pixyproxy.core.usage import Dimension, Span, Sums


class UsageRepository(Protocol):
    """Sums over generations, by the days of their beginnings. They are exact, also while generations begin and end."""

    async def sums(
        self, span: Span, *, by: Sequence[Dimension], api_key_id: int | None = None
    ) -> Mapping[tuple[str | int, ...], Sums]:
        """The sums of each group that has a generation, of this API key or of all.

        A group is named by its values in the order of `by`: a day or a month as in ISO 8601, the id of a key, a model
        (empty: the record has none), a state. `InvalidRequestError` for too many groups, `UsageNotReadyError` if days
        are left to be added up for the first time.
        """

    async def store(self, *, seconds: float) -> int:
        """Add up days that are over for so many seconds, oldest first; how many are left."""
