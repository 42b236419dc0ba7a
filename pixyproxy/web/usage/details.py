"""The usage, as answers show it: JSON, and CSV for spreadsheets."""

import csv
import io
from datetime import date
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pixyproxy.core.money import amount_of
from pixyproxy.core.usage import Dimension, Sums
from pixyproxy.service.money.usage import UsageGroup, UsageReport

NUMBERS = ("generations", "images", "failed", "running", "unpriced")
AMOUNTS = ("cost", "estimated", "reserved")
TOKENS = {"input_text": "text_in", "input_images": "image_in", "output": "output"}
CSV_COLUMNS = (
    *NUMBERS,
    *(f"{name}_tokens" for name in TOKENS),
    *(f"{name}_usd" for name in AMOUNTS),
)
MEDIA_TYPE = "text/csv"


class UsageTokens(BaseModel):
    """Tokens, as far as the upstream said how many of each kind there were."""

    input_text: int = Field(description="Of the prompts, those from a cache included.")
    input_images: int = Field(description="Of the images that were edited, those from a cache included.")
    output: int


class UsageSums(BaseModel):
    """What generations add up to. Amounts are dollars, in full, as decimal numbers."""

    generations: int
    images: int = Field(description="Drawn by the generations that succeeded; later deleted ones too.")
    failed: int = Field(description="Generations that failed.")
    running: int = Field(description="Generations that have not ended.")
    unpriced: int = Field(description="Generations that ended and whose cost is unknown. It is not in `cost`.")
    tokens: UsageTokens
    cost: str = Field(examples=["12.0531"])
    estimated: str = Field(description="The part of `cost` that is estimated.", examples=["0.04"])
    reserved: str = Field(description="The estimates of what runs, which are not in `cost`.", examples=["0"])

    @classmethod
    def of(cls, sums: Sums) -> Self:
        """The form of sums in JSON."""
        return cls(**values_of(sums))


class UsageOfGroup(UsageSums):
    """The sums of one group; of the first five members those that were asked for by `by`."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    day: date | None = Field(default=None)
    month: str | None = Field(default=None, examples=["2026-11"])
    key: str | None = Field(default=None, description="The key's name; null if its record was removed by hand.")
    model: str | None = Field(default=None, description="Empty if the record has none.")
    state: str | None = Field(default=None, examples=["succeeded"])

    @classmethod
    def of_group(cls, group: UsageGroup) -> Self:
        """The form of a group in JSON."""
        return cls(**{each.value: value for each, value in group.values.items()}, **values_of(group.sums))


class UsageDetails(BaseModel):
    """The usage of a span of days."""

    since: date = Field(alias="from", description="The first day (UTC).")
    until: date = Field(alias="to", description="The day after the last one.")
    by: tuple[Dimension, ...]
    currency: Literal["USD"] = "USD"
    total: UsageSums
    groups: list[UsageOfGroup] = Field(description="In the order of their values.")

    @classmethod
    def of(cls, report: UsageReport) -> Self:
        """The form of a report in JSON."""
        return cls.model_validate(
            {
                "from": report.span.since,
                "to": report.span.until,
                "by": report.by,
                "currency": "USD",
                "total": UsageSums.of(report.total),
                "groups": [UsageOfGroup.of_group(group) for group in report.groups],
            }
        )


def values_of(sums: Sums) -> dict[str, Any]:
    """The members of sums."""
    return {
        **{name: getattr(sums, name) for name in NUMBERS},
        "tokens": UsageTokens(**{name: getattr(sums, field) for name, field in TOKENS.items()}),
        **{name: amount_of(getattr(sums, name)) for name in AMOUNTS},
    }


def csv_of(report: UsageReport) -> str:
    """The groups as CSV (RFC 4180) with a line of names. It has no total: a spreadsheet would add it again."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow([*(each.value for each in report.by), *CSV_COLUMNS])
    for group in report.groups:
        sums = group.sums
        writer.writerow(
            [
                *("" if value is None else value for value in group.values.values()),
                *(getattr(sums, name) for name in (*NUMBERS, *TOKENS.values())),
                *(amount_of(getattr(sums, name)) for name in AMOUNTS),
            ]
        )
    return lines.getvalue()
