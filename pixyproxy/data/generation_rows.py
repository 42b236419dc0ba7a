"""The rows of generations: the columns, and generations from rows and back."""

import logging
from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from pixyproxy.core.generations import Generation, GenerationState, Origin, RecordedRequest, parameters_in
from pixyproxy.core.images import Image
from pixyproxy.core.ledger import Quote
from pixyproxy.core.money import Cost
from pixyproxy.data.conversions import column_to_json, column_to_time, json_to_column, time_to_column
from pixyproxy.data.database import Row, Transaction
from pixyproxy.data.image_rows import images_by_generation

SELECT = """
    SELECT id, guid, api_key_id, idempotency_key, fingerprint, request, expected_images, state, error,
           upstream_request_id, `usage`, answer, price_id, cost_class, estimate_nano, cost_nano, cost_basis,
           lease_expires_at, abandoned_at, created_at, updated_at
    FROM generations
"""
INSERT = """
    INSERT INTO generations
        (guid, api_key_id, idempotency_key, fingerprint, request, expected_images, state, error, upstream_request_id,
         `usage`, answer, price_id, cost_class, estimate_nano, counted_nano, lease_expires_at, created_at, updated_at)
    VALUES
        (:guid, :api_key_id, :idempotency_key, :fingerprint, :request, :expected_images, :state, :error,
         :upstream_request_id, :usage, :answer, :price_id, :cost_class, :estimate_nano, COALESCE(:estimate_nano, 0),
         {lease_expires_at}, :created_at, :updated_at)
"""

logger = logging.getLogger(__name__)


def generation_to_row(generation: Generation) -> dict[str, Any]:
    """The columns of a generation that runs, but for its lease. It weighs its estimate."""
    quote = generation.quote
    return {
        "guid": str(generation.guid),
        "api_key_id": generation.api_key_id,
        "idempotency_key": generation.idempotency_key,
        "fingerprint": generation.fingerprint,
        "request": json_to_column(generation.request.values),
        "expected_images": generation.expected_images,
        "state": generation.state.value,
        "error": json_to_column(generation.error),
        "upstream_request_id": generation.upstream_request_id,
        "usage": json_to_column(generation.usage),
        "answer": json_to_column(generation.answer),
        "price_id": None if quote is None else quote.price_id,
        "cost_class": None if quote is None else quote.cost_class,
        "estimate_nano": None if quote is None else quote.estimate,
        "created_at": time_to_column(generation.created_at),
        "updated_at": time_to_column(generation.updated_at),
    }


def row_to_generation(row: Row, *, images: tuple[Image, ...] = ()) -> Generation:
    """The generation of a row, with these images. `ValueError` for a row that this version cannot read."""
    return Generation(
        guid=UUID(row["guid"]),
        api_key_id=row["api_key_id"],
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
        request=RecordedRequest(values=column_to_json(row["request"]) or {}),
        expected_images=row["expected_images"],
        state=GenerationState(row["state"]),
        error=column_to_json(row["error"]),
        upstream_request_id=row["upstream_request_id"],
        usage=column_to_json(row["usage"]),
        answer=column_to_json(row["answer"]),
        quote=row_to_quote(row),
        cost=row_to_cost(row),
        images=images,
        created_at=column_to_time(row["created_at"]),
        updated_at=column_to_time(row["updated_at"]),
    )


def row_to_quote(row: Row) -> Quote | None:
    """What the generation was expected to cost; None if an older version began it."""
    if row["cost_class"] is None:
        return None
    return Quote(price_id=row["price_id"], cost_class=row["cost_class"], estimate=row["estimate_nano"])


def row_to_cost(row: Row) -> Cost | None:
    """What the generation cost; None if that is unknown, or it runs."""
    return None if row["cost_nano"] is None else Cost(nano=row["cost_nano"], basis=row["cost_basis"])


def row_to_origin(row: Row) -> Origin:
    """The origin of an image. A request that this version cannot read is logged, and has no parameters."""
    try:
        values = column_to_json(row["request"])
    except ValueError:
        values = None
    if not isinstance(values, dict):
        logger.error("generation %s: this version cannot read its request", row["guid"])
        values = {}
    return Origin(UUID(row["guid"]), row["api_key_id"], parameters_in(values), row_to_cost(row))


def readable(rows: Iterable[Row], *, images: dict[int, tuple[Image, ...]] | None = None) -> tuple[Generation, ...]:
    """The generations of the rows. A row that another version wrote and this one cannot read is logged and skipped."""
    generations = []
    for row in rows:
        try:
            generations.append(row_to_generation(row, images=(images or {}).get(row["id"], ())))
        except ValueError:
            logger.exception("generation %s: this version cannot read its record", row["guid"])
    return tuple(generations)


def with_images(transaction: Transaction, rows: Collection[Row]) -> tuple[Generation, ...]:
    """The generations of the rows, each with its images."""
    return readable(rows, images=images_by_generation(transaction, [row["id"] for row in rows]))
