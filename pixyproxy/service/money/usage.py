"""The usage that a caller may see, by the names of keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter

from pixyproxy.core.exceptions import InvalidRequestError
from pixyproxy.core.keys import Caller, KeyName
from pixyproxy.core.model import Model
from pixyproxy.core.protocols import UsageRepository
from pixyproxy.core.usage import Day, Dimension, Span, Sums, span_of, total_of
from pixyproxy.service.callers import Callers
from pixyproxy.service.rights import sees_all_costs
from pixyproxy.service.validation import revalidated

WORDS = "|".join(Dimension)


class UsageQuery(Model):
    """What is summed, and by what."""

    model_config = ConfigDict(serialize_by_alias=True)

    since: Day | None = Field(
        default=None, alias="from", description="The first day (UTC). Left out: the first of the month."
    )
    until: Day | None = Field(
        default=None,
        alias="to",
        description="The day after the last one. Left out: the end of the month, or after a `from` that of today.",
    )
    by: Annotated[str, Field(pattern=f"^({WORDS})(,({WORDS}))?$")] = Field(
        default=Dimension.DAY.value, description=f"One or two of {', '.join(Dimension)}, with a comma between them."
    )
    caller: KeyName | None = Field(
        default=None, description="Only that of the API key with this name; none if no key has it."
    )

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What it is summed by, each once."""
        return tuple(dict.fromkeys(map(Dimension, self.by.split(","))))


@dataclass(frozen=True)
class UsageGroup:
    """The sums of a group, and its values by dimension. A key without a name: its record was removed by hand."""

    values: Mapping[Dimension, str | None]
    sums: Sums


@dataclass(frozen=True)
class UsageReport:
    """The groups in the order of their values, and all of them together."""

    span: Span
    by: tuple[Dimension, ...]
    groups: tuple[UsageGroup, ...]
    total: Sums


class UsageService:
    """Sums of generations. Every key may see its own; with `read-all` or `admin` everybody's."""

    def __init__(
        self, usage: UsageRepository, callers: Callers, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._usage = usage
        self._callers = callers
        self._clock = clock

    async def of(self, query: UsageQuery, *, caller: Caller) -> UsageReport:
        """The usage of the caller, or of everybody; nothing for the name of a key that the caller may not know.

        `InvalidRequestError` for a span without a day or too many groups, `UsageNotReadyError`.
        """
        query = revalidated(_QUERY, query)
        if sees_all_costs(caller):
            return await self.everybodys(query)
        if query.caller not in (None, caller.name):
            return report_of({}, query, span=self._span(query), names={})
        return await self._report(query, api_key_id=caller.api_key_id)

    async def everybodys(self, query: UsageQuery) -> UsageReport:
        """The usage of everybody, or of the key that the query names; nothing if no key has the name."""
        if query.caller is None:
            return await self._report(query, api_key_id=None)
        owner = await self._callers.id_of(query.caller)
        if owner is None:
            return report_of({}, query, span=self._span(query), names={})
        return await self._report(query, api_key_id=owner)

    async def _report(self, query: UsageQuery, *, api_key_id: int | None) -> UsageReport:
        span, by = self._span(query), query.dimensions
        groups = await self._usage.sums(span, by=by, api_key_id=api_key_id)
        names: Mapping[int, str] = {}
        if Dimension.KEY in by:
            at = by.index(Dimension.KEY)
            names = await self._callers.names({int(values[at]) for values in groups})
        return report_of(groups, query, span=span, names=names)

    def _span(self, query: UsageQuery) -> Span:
        try:
            return span_of(query.since, query.until, now=self._clock())
        except ValueError as error:
            raise InvalidRequestError([{"detail": str(error), "pointer": "?to"}]) from None


def report_of(
    groups: Mapping[tuple[str | int, ...], Sums], query: UsageQuery, *, span: Span, names: Mapping[int, str]
) -> UsageReport:
    """The report of these groups."""
    by = query.dimensions
    named = [
        UsageGroup({name: value_of(name, value, names) for name, value in zip(by, values, strict=True)}, sums)
        for values, sums in groups.items()
    ]
    named.sort(key=lambda group: [value or "" for value in group.values.values()])
    return UsageReport(span=span, by=by, groups=tuple(named), total=total_of(groups.values()))


def value_of(dimension: Dimension, value: str | int, names: Mapping[int, str]) -> str | None:
    """A value as people know it."""
    return names.get(int(value)) if dimension is Dimension.KEY else str(value)


_QUERY: TypeAdapter[UsageQuery] = TypeAdapter(UsageQuery)
