"""Prices, and what a generation costs by them: pure arithmetic in whole nano-dollars.

Whatever is not known is None, never 0: a price that a source does not give, a usage that the upstream did not send, a
kind of token that a row has no price for.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from pixyproxy.core.model import Model
from pixyproxy.core.money import DOLLAR, MAX_NANO, Nano
from pixyproxy.core.tokens import tokens_of

OPENAI, DEMO = "openai", "demo"
OPENAI_HOST = "api.openai.com"
ANY = "*"
"""At the end of a model: whatever follows. In place of a quality or a size: whatever it is."""
INPUT_TOKENS = 65 + 3 * 129 + 6240
"""Tokens of one input image, at most, by OpenAI's guide: of an image 3 times as long as wide, at high fidelity."""
PARTIAL_TOKENS = 100
"""Tokens of a partial image, by OpenAI's guide."""
MAX_COST: Nano = 1_000_000 * DOLLAR
"""No generation costs more: a million dollars is a mistake in a price, and sums of such costs fit into no column."""
SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)


def of_our_time(moment: datetime) -> datetime:
    """Refuse a year that not every database can hold."""
    if not 2000 <= moment.astimezone(UTC).year <= 9998:
        raise ValueError("must be a day of the years 2000 to 9998")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(of_our_time)]
Amount = Annotated[int, Field(strict=True, ge=0, le=MAX_NANO)]
Upstream = Annotated[str, StringConstraints(pattern=r"^[a-z0-9\[][a-z0-9.:_\[\]-]*$", max_length=255)]
ModelPattern = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/-]*\*?|\*)$", max_length=64)]
Word = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/-]*|\*)$", max_length=64)]
Source = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
ByQualityAndSize = Annotated[dict[Word, dict[Word, Amount]], Field(min_length=1, max_length=50)]
"""Nano-dollars of one image, by its quality and then by its size."""

TOKEN_PRICES = ("text_in", "image_in", "cached_text_in", "cached_image_in", "image_out", "text_out")
"""The fields that have nano-dollars a token."""
NUMBERS = (*TOKEN_PRICES, "per_image", "reserve")
"""The fields that costs are reckoned with: in a row they never change."""


class PriceTerms(Model):
    """What somebody charges for a model, from `valid_from` on and before `valid_to` (None: until a newer price).

    `upstream`: `openai`, `demo`, or the host of another OPENAI_BASE_URL. `model`: its name, or a beginning and `*`.
    Either tokens have a price, in nano-dollars each (None: unknown), or images, by quality and size. `reserve`: what
    one image probably costs, by quality and size, while nothing is known yet.
    """

    upstream: Upstream
    model: ModelPattern
    valid_from: Moment
    valid_to: Moment | None = None
    text_in: Amount | None = None
    image_in: Amount | None = None
    cached_text_in: Amount | None = None
    cached_image_in: Amount | None = None
    image_out: Amount | None = None
    text_out: Amount | None = None
    per_image: ByQualityAndSize | None = None
    reserve: ByQualityAndSize | None = None
    source: Source

    @model_validator(mode="after")
    def is_a_price(self) -> Self:
        """Refuse what ends before it begins, and what prices nothing, or both tokens and images."""
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("must end after it begins: valid_to is not after valid_from")
        by_token = any(getattr(self, name) is not None for name in TOKEN_PRICES)
        if by_token == (self.per_image is not None):
            raise ValueError("must have prices of tokens, or per_image, and not both")
        if by_token and self.image_out is None:
            raise ValueError("must have image_out: no image has a cost without it")
        if any(not sizes for table in (self.per_image, self.reserve) if table for sizes in table.values()):
            raise ValueError("must have a size for each quality of per_image and reserve")
        return self

    @property
    def is_pattern(self) -> bool:
        """Whether it is for all models with the same beginning."""
        return self.model.endswith(ANY)

    def numbers(self) -> dict[str, Any]:
        """What costs are reckoned with."""
        return {name: getattr(self, name) for name in NUMBERS}


class Price(PriceTerms):
    """A recorded price. Its numbers never change; its end does, when a newer one begins.

    `recorded_at`: when it was set, or the day on which the source of a shipped one was read. `shipped`: it came with
    PixyProxy, the operator did not set it. A price that was replaced from its very beginning ends where it begins.
    """

    id: int
    recorded_at: AwareDatetime
    shipped: bool = False

    @model_validator(mode="after")
    def is_a_price(self) -> Self:
        """Records are read as they are."""
        return self

    @property
    def rank(self) -> tuple[bool, bool, int, Any, int]:
        """Of several prices of a model at a moment the one with the highest rank counts.

        The operator's comes before a shipped one, then the model's own before a pattern, then the longest pattern.
        """
        return (not self.shipped, not self.is_pattern, len(self.model), self.valid_from, self.id)


def covers(pattern: str, model: str) -> bool:
    """Whether a model has this name, or this beginning if the pattern ends with `*`."""
    return model.startswith(pattern[:-1]) if pattern.endswith(ANY) else model == pattern


def best_price(prices: Iterable[Price], *, upstream: str, model: str) -> Price | None:
    """The price of a model among those that hold; None if it is unknown. See `Price.rank`."""
    found = (price for price in prices if price.upstream == upstream and covers(price.model, model))
    return max(found, key=lambda price: price.rank, default=None)


def upstream_of(base_url: str | None, *, demo: bool) -> str:
    """The name of an upstream in the prices: `demo`, `openai`, or the host (and port, if the URL has one)."""
    if demo:
        return DEMO
    host = urlsplit(base_url).netloc.rpartition("@")[2].lower() if base_url else OPENAI_HOST
    return OPENAI if host in (OPENAI_HOST, f"{OPENAI_HOST}:443") else host


def cost_of(
    price: PriceTerms,
    *,
    usage: Mapping[str, Any] | None,
    answer: Mapping[str, Any] | None,
    values: Mapping[str, Any],
    images: int,
) -> Nano | None:
    """What a generation cost that drew so many images; None: unknown.

    `answer`: see `Generation.answer`; `values`: those of its request. Partial images are in the usage. The answer says
    which quality and size were drawn; where it does not, the request does.
    """
    if price.per_image is not None:
        size, quality = (_resolved(name, answer, values) for name in ("size", "quality"))
        one = _listed(price.per_image, size=size, quality=quality)
        return None if one is None or one * images > MAX_COST else one * images
    tokens = tokens_of(usage, edits=bool(values.get("inputs")))
    if tokens is None:
        return None
    total = 0
    for name, count in tokens.by_price().items():
        each: Nano | None = getattr(price, name)
        if count and each is None:
            return None
        total += count * (each or 0)
    return total if total <= MAX_COST else None


def reserve_of(
    price: PriceTerms, *, size: str | None, quality: str | None, images: int, edits: int = 0, partials: int = 0
) -> Nano | None:
    """What so many images probably cost, before any of their kind was drawn; None: unknown.

    Of what is `auto` or not listed, the dearest listed counts; a picture with more pixels than the largest listed costs
    as much more. `edits`: how many input images there are (True: one); each adds `INPUT_TOKENS` to what an image costs.
    `partials`: how many partial images are asked for; each adds `PARTIAL_TOKENS`.
    """
    table = price.reserve or price.per_image
    if table is None or images < 0:
        return None
    one = _listed(table, size=size, quality=quality)
    if one is None:
        one = _dearest(_of_quality(table, quality), size=size)
    if edits and price.per_image is None:
        if price.image_in is None:
            return None
        one += price.image_in * INPUT_TOKENS * edits
    one += (price.image_out or 0) * PARTIAL_TOKENS * partials
    return one * images if one * images <= MAX_COST else None


def _resolved(name: str, answer: Mapping[str, Any] | None, values: Mapping[str, Any]) -> str | None:
    """The size or quality that was drawn; None if nobody says. The events of a stream may repeat `auto`."""
    for found in ((answer or {}).get(name), values.get(name)):
        if isinstance(found, str) and found != "auto":
            return found
    return None


Table = Mapping[str, Mapping[str, Nano]]


def _listed(table: Table, *, size: str | None, quality: str | None) -> Nano | None:
    """The entry of the table for exactly this quality and size; `*` stands for all others, and for what is unknown."""
    sizes = table.get(quality or ANY) or table.get(ANY) or {}
    found = sizes.get(size or ANY)
    return sizes.get(ANY) if found is None else found


def _of_quality(table: Table, quality: str | None) -> list[tuple[str, Nano]]:
    """The entries of a quality; of all qualities if it is not listed."""
    named = table.get(quality or ANY) or table.get(ANY)
    return [entry for sizes in ([named] if named else table.values()) for entry in sizes.items()]


def _dearest(entries: list[tuple[str, Nano]], *, size: str | None) -> Nano:
    """The dearest entry, raised in proportion to the pixels that the size has more than the largest listed one."""
    dearest = max(nano for _, nano in entries)
    largest, pixels = max(_pixels(listed) for listed, _ in entries), _pixels(size)
    return dearest if not largest or pixels <= largest else -(-dearest * pixels // largest)


def _pixels(size: str | None) -> int:
    """The pixels of a size such as `1536x1024`; 0 if it is no such size."""
    found = SIZE.fullmatch(size or "")
    return int(found[1]) * int(found[2]) if found else 0
