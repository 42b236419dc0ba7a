"""What generations add up to."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Protocol

from pixyproxy.core.usage import Dimension, Span, Sums, UnequalDay


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

    async def days(self) -> tuple[date, ...]:
        """The days that are stored, oldest first."""

    async def audit(self, day: date) -> UnequalDay | None:
        """Compare what is stored of a day with what its generations say; None if they agree, or nothing is stored."""

    async def forget(self, day: date) -> None:
        """Remove what is stored of a day: the next `sums` or `store` adds it up anew."""
