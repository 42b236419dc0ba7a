"""The records of prices."""

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pixyproxy.core.exceptions import DatabaseError, NotFoundError
from pixyproxy.core.price_files import parse_prices
from pixyproxy.core.price_schedule import is_outdated, place
from pixyproxy.core.prices import TOKEN_PRICES, Price, PriceTerms, best_price, covers
from pixyproxy.data.conversions import (
    column_to_json,
    column_to_time,
    json_to_column,
    optional_time,
    time_to_column,
)
from pixyproxy.data.database import Row, SqlDatabase, Transaction

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("prices.toml")

SELECT = """
    SELECT id, upstream, model, shipped, valid_from, valid_to, text_in, image_in, cached_text_in, cached_image_in,
        image_out, text_out, per_image, reserve, source, recorded_at
    FROM prices
"""
BY_ID = SELECT + "WHERE id = :id"
BY_IDS = SELECT + "WHERE id IN :ids"
OF_MODEL = SELECT + "WHERE upstream = :upstream AND model = :model AND shipped = :shipped ORDER BY valid_from, id"
ALL = SELECT + "ORDER BY upstream, model, shipped, valid_from, id"
INSERT = """
    INSERT INTO prices (
        upstream, model, shipped, valid_from, valid_to, revision, text_in, image_in, cached_text_in, cached_image_in,
        image_out, text_out, per_image, reserve, source, recorded_at
    )
    VALUES (
        :upstream, :model, :shipped, :valid_from, :valid_to, :revision, :text_in, :image_in, :cached_text_in,
        :cached_image_in, :image_out, :text_out, :per_image, :reserve, :source, :recorded_at
    )
"""
HOLDING = """
    SELECT id, model
    FROM prices
    WHERE upstream = :upstream AND valid_from <= :at AND (valid_to IS NULL OR valid_to > :at)
"""
IN_USE = """
    SELECT DISTINCT model
    FROM (SELECT model FROM images ORDER BY created_at DESC, guid DESC LIMIT 10000) AS newest
    ORDER BY model
"""


def row_to_price(row: Row) -> Price:
    """The price of a row; `DatabaseError` if this version cannot read it."""
    price = readable_price(row)
    if price is None:
        raise DatabaseError(f"This version cannot read the record of price {row['id']}.")
    return price


def readable_price(row: Row) -> Price | None:
    """The price of a row; None if another version wrote it in a way that this one cannot read."""
    try:
        return _price_of(row)
    except ValueError as error:  # JSON and pydantic have subclasses of it
        logger.warning("the record of price %s cannot be read (%s)", row["id"], type(error).__name__)
        return None


def _price_of(row: Row) -> Price:
    return Price(
        id=row["id"],
        upstream=row["upstream"],
        model=row["model"],
        shipped=bool(row["shipped"]),
        valid_from=column_to_time(row["valid_from"]),
        valid_to=optional_time(row["valid_to"]),
        per_image=column_to_json(row["per_image"]),
        reserve=column_to_json(row["reserve"]),
        source=row["source"],
        recorded_at=column_to_time(row["recorded_at"]),
        **{name: row[name] for name in TOKEN_PRICES},
    )


def price_to_row(terms: PriceTerms) -> dict[str, Any]:
    """The columns of what somebody charges, but for its end."""
    return {
        "upstream": terms.upstream,
        "model": terms.model,
        "valid_from": time_to_column(terms.valid_from),
        "per_image": json_to_column(terms.per_image),
        "reserve": json_to_column(terms.reserve),
        "source": terms.source,
        **{name: getattr(terms, name) for name in TOKEN_PRICES},
    }


class PriceRows:
    """Prices inside a transaction. Those that were read once are kept: their numbers never change.

    The end, the source and its day of a price that is kept may be older than its row.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Price] = {}

    def kept(self, price_id: int) -> Price | None:
        """The price with this id, if it was read before."""
        return self._kept.get(price_id)

    def get(self, transaction: Transaction, price_id: int) -> Price:
        """The price with this id; `NotFoundError` if there is none."""
        kept = self.kept(price_id)
        if kept is not None:
            return kept
        row = transaction.one(BY_ID, id=price_id)
        if row is None:
            raise NotFoundError("No price has this id.")
        self._kept[price_id] = price = row_to_price(row)
        return price

    def find(self, transaction: Transaction, *, upstream: str, model: str, at: datetime) -> Price | None:
        """The price of a model at a moment; None if it is unknown. One short statement, if the price is kept.

        Prices that this version cannot read are left out.
        """
        holding = transaction.all(HOLDING, upstream=upstream, at=time_to_column(at))
        ids = [row["id"] for row in holding if covers(row["model"], model)]
        missing = tuple(price_id for price_id in ids if price_id not in self._kept)
        if missing:
            read = map(readable_price, transaction.all(BY_IDS, ids=missing))
            self._kept.update((price.id, price) for price in read if price is not None)
        prices = (self._kept[price_id] for price_id in ids if price_id in self._kept)
        return best_price(prices, upstream=upstream, model=model)


def _of_model(transaction: Transaction, terms: PriceTerms, *, shipped: bool) -> list[Price]:
    rows = transaction.all(OF_MODEL, upstream=terms.upstream, model=terms.model, shipped=int(shipped))
    return [row_to_price(row) for row in rows]


def record(
    transaction: Transaction, terms: PriceTerms, *, recorded_at: datetime, shipped: bool = False
) -> tuple[int, bool]:
    """Record a price where `place` says; its id, and whether it is new."""
    recorded = _of_model(transaction, terms, shipped=shipped)
    placement = place(terms, recorded, clip=shipped)
    if placement.same is not None:
        return placement.same.id, False
    for price_id, end in placement.ends.items():
        transaction.execute(
            "UPDATE prices SET valid_to = :end WHERE id = :id AND (valid_to IS NULL OR valid_to > :end)",
            id=price_id,
            end=time_to_column(end),
        )
    values = {
        **price_to_row(terms),
        "shipped": int(shipped),
        "valid_to": None if placement.valid_to is None else time_to_column(placement.valid_to),
        "revision": sum(price.valid_from == terms.valid_from for price in recorded),
        "recorded_at": time_to_column(recorded_at),
    }
    return transaction.insert(INSERT, **values), True


def load_shipped(transaction: Transaction, prices: Sequence[tuple[PriceTerms, datetime]]) -> int:
    """Record shipped prices, see `PriceRepository.load_shipped`; how many were new."""
    new = 0
    for terms, read_on in sorted(prices, key=lambda price: price[0].valid_from):
        if is_outdated(terms, read_on, _of_model(transaction, terms, shipped=True)):
            continue
        price_id, is_new = record(transaction, terms, recorded_at=read_on, shipped=True)
        new += is_new
        if not is_new:
            transaction.execute(
                "UPDATE prices SET source = :source, recorded_at = :read_on WHERE id = :id AND recorded_at < :read_on",
                id=price_id,
                source=terms.source,
                read_on=time_to_column(read_on),
            )
    return new


def shipped_prices() -> list[tuple[PriceTerms, datetime]]:
    """The prices of this version, and the days of their sources. Each says its own day and beginning."""
    return parse_prices(SHIPPED.read_text(encoding="utf-8"))


class SqlPriceRepository:
    """`PriceRepository` over SQL."""

    def __init__(self, database: SqlDatabase, *, rows: PriceRows | None = None) -> None:
        self._database = database
        self._rows = rows or PriceRows()

    async def find(self, *, upstream: str, model: str, at: datetime) -> Price | None:
        """The price of a model at a moment; None if it is unknown."""
        return await self._database.read(
            lambda transaction: self._rows.find(transaction, upstream=upstream, model=model, at=at)
        )

    async def get(self, price_id: int) -> Price:
        """The price with this id; `NotFoundError` if there is none. One that was read before needs no database."""
        kept = self._rows.kept(price_id)
        if kept is not None:
            return kept
        return await self._database.read(lambda transaction: self._rows.get(transaction, price_id))

    async def list(self) -> tuple[Price, ...]:
        """All prices, by upstream and model; each model's in the order of their beginnings.

        Those that this version cannot read are left out.
        """
        prices = map(readable_price, await self._database.all(ALL))
        return tuple(price for price in prices if price is not None)

    async def models_in_use(self) -> tuple[str, ...]:
        """The models of the newest 10,000 images."""
        return tuple(row["model"] for row in await self._database.all(IN_USE))

    async def add(self, prices: Sequence[PriceTerms], *, recorded_at: datetime) -> tuple[Price, ...]:
        """Record what the operator sets, all or nothing; `ConflictError` if one overlaps with a later one."""

        def work(transaction: Transaction) -> tuple[Price, ...]:
            ids = [record(transaction, terms, recorded_at=recorded_at)[0] for terms in prices]
            rows = [transaction.one(BY_ID, id=price_id) for price_id in ids]
            return tuple(row_to_price(row) for row in rows if row is not None)

        return await self._database.transaction(work)

    async def load_shipped(self, prices: Sequence[tuple[PriceTerms, datetime]]) -> int:
        """Record shipped prices that are not recorded yet; how many were new."""
        return await self._database.transaction(lambda transaction: load_shipped(transaction, prices))
