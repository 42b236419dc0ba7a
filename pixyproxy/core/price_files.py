"""Price files: TOML with a table `[[price]]` for each price, as the sources print them.

Dollars of a million tokens, or dollars of one image by quality and size; days or moments; one model, or a list of
models with the same price. Amounts are read as they are written, never as binary fractions.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.money import nano_of, per_token
from pixyproxy.core.prices import TOKEN_PRICES, PriceTerms

TABLE = "price"
IMAGE_PRICES = ("per_image", "reserve")
MOMENTS = ("valid_from", "valid_to")
READ_ON = "read_on"
"""The day on which somebody read the source; a file of the operator may leave it out."""
MAX_BYTES = 1024 * 1024


def parse_prices(text: str, *, now: datetime | None = None) -> list[tuple[PriceTerms, datetime]]:
    """The prices of a file, and when their sources were read (`now` if the file does not say).

    A price without `valid_from` begins at `now`; None: each must have one, and its day. `ConfigurationError` says what
    is wrong, and in which price.
    """
    try:
        document = tomllib.loads(text, parse_float=str)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"is not TOML: {error}") from None
    tables = document.pop(TABLE, None)
    if document:
        raise ConfigurationError(f"has {', '.join(map(repr, document))}; it may have [[{TABLE}]] only")
    if not isinstance(tables, list) or not tables:
        raise ConfigurationError(f"has no [[{TABLE}]]")
    prices = []
    for number, values in enumerate(tables, start=1):
        where = f"price {number}"
        if not isinstance(values, dict):
            raise ConfigurationError(f"{where} is no table")
        names = values.get("model")
        models = names if isinstance(names, list) and names else [names]
        if isinstance(models[0], str):
            where += f" ({models[0][:64]!r})"
        try:
            read_on = _named(READ_ON, moment_of, values.pop(READ_ON)) if READ_ON in values else now
            if read_on is None:
                raise ValueError(f"{READ_ON}: Field required")
            prices += [(terms_of({**values, "model": model}, now=now), read_on) for model in models]
        except ValueError as error:
            raise ConfigurationError(f"{where}: {error}") from None
    require_no_overlap([terms for terms, _ in prices])
    return prices


def terms_of(values: Mapping[str, Any], *, now: datetime | None) -> PriceTerms:
    """The price with these values, as a file or an option has them. `ValueError` names the field that is wrong."""
    found: dict[str, Any] = {} if now is None else {"valid_from": now}
    for name, value in values.items():
        if name in TOKEN_PRICES:
            found[name] = _named(name, per_token, value)
        elif name in IMAGE_PRICES:
            found[name] = _by_quality_and_size(name, value)
        elif name in MOMENTS:
            found[name] = _named(name, moment_of, value)
        else:
            found[name] = value
    try:
        return PriceTerms(**found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"is no field of a price; these are: {', '.join((*PriceTerms.model_fields, READ_ON))}"
        path = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {message}" if path else message) from None


def require_no_overlap(prices: Sequence[PriceTerms]) -> None:
    """Raise `ConfigurationError` if two prices of the same model hold at the same moment.

    One without an end ends where the next one begins, so only an end that is written down can overlap.
    """
    for one, other in combinations(prices, 2):
        earlier, later = sorted((one, other), key=lambda price: price.valid_from)
        if (one.upstream, one.model) == (other.upstream, other.model) and (
            earlier.valid_from == later.valid_from
            or (earlier.valid_to is not None and later.valid_from < earlier.valid_to)
        ):
            raise ConfigurationError(
                f"two prices of {one.model!r} at {one.upstream} overlap: from {_day(earlier.valid_from)} on, and from "
                f"{_day(later.valid_from)} on"
            )


def moment_of(value: object) -> datetime:
    """The moment that a file or an option means: a day begins at midnight UTC, a time without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a day such as 2026-11-30, or a moment such as 2026-11-30T12:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise ValueError("must be a day such as 2026-11-30, or a moment such as 2026-11-30T12:00:00Z")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is no moment of the years 1 to 9999") from None


def read_text(data: bytes) -> str:
    """The text of a price file; `ConfigurationError` if it is too large or not UTF-8."""
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"is larger than {MAX_BYTES // 1024} KB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigurationError("is not UTF-8") from None


def _by_quality_and_size(name: str, value: object) -> dict[str, dict[str, int]]:
    if not isinstance(value, dict):
        raise ValueError(f'{name}: must be a table such as {{ low = {{ "1024x1024" = "0.006" }} }}')
    found: dict[str, dict[str, int]] = {}
    for quality, sizes in value.items():
        if not isinstance(sizes, dict):
            raise ValueError(f'{name}.{quality}: must be a table such as {{ "1024x1024" = "0.006" }}')
        found[quality] = {size: _named(f"{name}.{quality}.{size}", nano_of, each) for size, each in sizes.items()}
    return found


def _named(name: str, read: Callable[[Any], Any], value: object) -> Any:
    amount = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if read is not moment_of and not isinstance(amount, str):
        raise ValueError(f"{name}: must be a number of dollars")
    try:
        return read(amount)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if moment.time() == time() else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
