"""Prices, as answers show them. Amounts are US dollars, as decimal numbers."""

from typing import Self

from pydantic import AwareDatetime, BaseModel, Field

from pixyproxy.core.money import amount_of, per_million
from pixyproxy.core.prices import TOKEN_PRICES, ByQualityAndSize, Price

Table = dict[str, dict[str, str]]

TOKENS = "Of a million tokens; null: unknown."


class PriceDetails(BaseModel):
    """What an upstream charges for a model. Of tokens or of images, not of both."""

    upstream: str = Field(examples=["openai"])
    model: str = Field(description="Its name, or a beginning and `*`.", examples=["gpt-image-2"])
    valid_from: AwareDatetime
    valid_to: AwareDatetime | None = Field(description="Null: until a newer price begins.")
    text_in: str | None = Field(description=TOKENS, examples=["5"])
    image_in: str | None = Field(description=TOKENS)
    cached_text_in: str | None = Field(description=TOKENS)
    cached_image_in: str | None = Field(description=TOKENS)
    image_out: str | None = Field(description=TOKENS)
    text_out: str | None = Field(description=TOKENS)
    per_image: Table | None = Field(description="Of one image, by quality and size; `*`: all others.")
    reserve: Table | None = Field(description="What an image probably costs, while nothing is known yet.")
    source: str = Field(description="Where the price stands.")
    recorded_at: AwareDatetime = Field(description="When it was set, or its source was read.")
    shipped: bool = Field(description="Whether it came with PixyProxy.")

    @classmethod
    def of(cls, price: Price) -> Self:
        """The details of a price."""
        tokens = {name: getattr(price, name) for name in TOKEN_PRICES}
        tables = {"per_image": price.per_image, "reserve": price.reserve}
        return cls(
            **price.model_dump(include=set(cls.model_fields) - set(tokens) - set(tables)),
            **{name: None if nano is None else per_million(nano) for name, nano in tokens.items()},
            **{name: None if table is None else dollars(table) for name, table in tables.items()},
        )


def dollars(table: ByQualityAndSize) -> Table:
    """A table of prices in dollars."""
    return {quality: {size: amount_of(nano) for size, nano in sizes.items()} for quality, sizes in table.items()}
