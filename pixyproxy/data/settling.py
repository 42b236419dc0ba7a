"""Ends generations: success, failure, parking. Functions on a `Transaction`, so that other records can share it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pixyproxy.core import limits
from pixyproxy.core.exceptions import TYPE_PREFIX, ConflictError, GenerationInterruptedError
from pixyproxy.core.generations import Drawing, Generation, GenerationState
from pixyproxy.core.images import Image
from pixyproxy.core.ledger import Kind, cost_of_failure
from pixyproxy.core.money import Cost
from pixyproxy.core.protocols import ImageSearch
from pixyproxy.data import ledger
from pixyproxy.data.conversions import json_to_column, time_to_column
from pixyproxy.data.database import Row, Transaction
from pixyproxy.data.image_rows import insert_image
from pixyproxy.data.usage_days import forget_day

INTERRUPTED = GenerationInterruptedError.name
ANSWERED_WITHIN = limits.ANSWERED_WITHIN
"""Seconds after its end in which a generation's client should have its answer."""
PART = 1024 * 1024
"""Bytes of a picture in a row of `parked_images`. A server takes statements of 16 MB by default, and escaping doubles
bytes."""


def succeed(
    transaction: Transaction,
    generation: Generation,
    *,
    images: Sequence[Image],
    drawing: Drawing | None,
    cost: Cost | None = None,
    parked: bool = True,
    search: ImageSearch[Transaction],
) -> bool:
    """Record the images and the success, let them be found, and remove what was parked.

    Returns whether this call recorded an image.

    `drawing` has the usage, request id and answer of the upstream, if they are known and not yet recorded. A generation
    that has succeeded already gets the images that it lacks. `ConflictError` if it failed, other than as interrupted,
    or if `images` are fewer than it expects. `cost`: None if it is unknown. `parked`: whether pictures may be parked.
    """
    now = datetime.now(UTC)
    found = transaction.execute(
        f"""
        UPDATE generations
        SET state = 'succeeded', error = NULL, error_name = NULL, `usage` = COALESCE(:usage, `usage`),
            upstream_request_id = COALESCE(:upstream_request_id, upstream_request_id),
            answer = COALESCE(:answer, answer), updated_at = :now, expected_images = :images,
            abandoned_at = COALESCE(abandoned_at, CASE WHEN :adoptable = 1 THEN {transaction.later("answered")} END),
            cost_nano = :cost_nano, cost_basis = :cost_basis, counted_nano = COALESCE(:cost_nano, 0),
            image_nano = :image_nano
        WHERE guid = :guid AND (state = 'running' OR (state = 'failed' AND error_name = :interrupted))
          AND (expected_images <= :images OR :drawn = 1)
        """,
        guid=str(generation.guid),
        upstream_request_id=drawing.upstream_request_id if drawing else None,
        usage=json_to_column(drawing.usage) if drawing else None,
        answer=json_to_column(drawing.answer) if drawing else None,
        interrupted=INTERRUPTED,
        now=time_to_column(now),
        images=len(images),
        drawn=int(drawing is not None),
        adoptable=int(is_adoptable(generation)),
        answered=ANSWERED_WITHIN,
        image_nano=-(-cost.nano // len(images)) if cost is not None and cost.basis == "usage" and images else None,
        **cost_to_columns(cost),
    )
    missing = images if found else images_missing(transaction, generation, images)
    search.add(transaction, [insert_image(transaction, image, generation=generation) for image in missing])
    if parked:
        transaction.execute("DELETE FROM parked_images WHERE generation_guid = :guid", guid=str(generation.guid))
    # Last, because others wait for the windows that it locks.
    if found:
        ledger.settle(transaction, generation, Kind.SUCCESS, cost, now=now)
    elif drawing is not None:
        complete(transaction, generation, drawing, cost, now=now)
    return bool(found or missing)


def complete(
    transaction: Transaction, generation: Generation, drawing: Drawing, cost: Cost | None, *, now: datetime
) -> None:
    """Add usage, request id, answer and cost to a success that a reconciler recorded from the pictures alone."""
    if drawing.usage is None or cost is None or cost.basis != "usage":
        return
    found = transaction.execute(
        """
        UPDATE generations
        SET `usage` = :usage, upstream_request_id = :upstream_request_id, answer = :answer, cost_nano = :cost_nano,
            cost_basis = :cost_basis, counted_nano = :cost_nano
        WHERE guid = :guid AND state = 'succeeded' AND `usage` IS NULL AND cost_basis = 'estimate'
        """,
        guid=str(generation.guid),
        usage=json_to_column(drawing.usage),
        upstream_request_id=drawing.upstream_request_id,
        answer=json_to_column(drawing.answer),
        **cost_to_columns(cost),
    )
    if found:  # it weighed its estimate until now
        ledger.settle(transaction, generation, Kind.CORRECTION, cost, now=now)
        forget_day(transaction, generation.created_at.astimezone(UTC).date())


def is_adoptable(generation: Generation) -> bool:
    """Whether a retry may adopt it, unless its answer is delivered in time: it has a fingerprint, and no key."""
    return generation.fingerprint is not None and generation.idempotency_key is None


def cost_to_columns(cost: Cost | None) -> dict[str, Any]:
    """The columns of a cost; NULL: it is unknown."""
    return {"cost_nano": None if cost is None else cost.nano, "cost_basis": None if cost is None else cost.basis}


def images_missing(transaction: Transaction, generation: Generation, images: Sequence[Image]) -> list[Image]:
    """The images that a succeeded generation lacks; `ConflictError` if it did not succeed.

    The images of a generation are recorded in one transaction. So nothing is missing if there are none, or if those
    left and those deleted add up to the expected number: a deleted image is not recorded again.
    """
    row = lock(transaction, generation.guid)
    if row is None or row["state"] != GenerationState.SUCCEEDED:
        raise ConflictError("The generation no longer runs.")
    known = {
        found["guid"] for found in transaction.all("SELECT guid FROM images WHERE generation_id = :id", id=row["id"])
    }
    if not known or len(known) + row["deleted_images"] >= max(row["expected_images"], len(images)):
        return []
    return [image for image in images if str(image.guid) not in known]


def fail(
    transaction: Transaction, generation: Generation, *, error: dict[str, Any], claimed: datetime | None = None
) -> None:
    """Record the failure, and what it cost; `ConflictError` if the generation no longer runs, or is another's.

    `claimed`: its lease is then the claimed one.
    """
    now, cost = transaction.now(), cost_of_failure(generation.quote, outcome=error.get("cost"))
    found = transaction.execute(
        """
        UPDATE generations
        SET state = 'failed', error = :error, error_name = :error_name, updated_at = :now,
            upstream_request_id = COALESCE(:upstream_request_id, upstream_request_id),
            abandoned_at = COALESCE(abandoned_at, :abandoned_at), cost_nano = :cost_nano, cost_basis = :cost_basis,
            counted_nano = COALESCE(:cost_nano, 0)
        WHERE guid = :guid AND state = 'running' AND (:claimed IS NULL OR lease_expires_at = :claimed)
        """,
        guid=str(generation.guid),
        error=json_to_column(error),
        error_name=str(error.get("type", "")).removeprefix(TYPE_PREFIX),
        upstream_request_id=error.get("upstream_request_id"),
        claimed=None if claimed is None else time_to_column(claimed),
        now=time_to_column(now),  # the clock of `interrupted`
        abandoned_at=time_to_column(now + timedelta(seconds=ANSWERED_WITHIN)) if is_adoptable(generation) else None,
        **cost_to_columns(cost),
    )
    if not found:
        raise ConflictError("The generation no longer runs, or is another's.")
    ledger.settle(transaction, generation, Kind.FAILURE, cost, now=now)


def park(transaction: Transaction, generation: Generation, drawing: Drawing) -> None:
    """Park all pictures, record the upstream's usage, request id and answer, and end the lease.

    `ConflictError` if the generation is settled: whoever settled it has its pictures.
    """
    now = time_to_column(transaction.now())
    transaction.execute("DELETE FROM parked_images WHERE generation_guid = :guid", guid=str(generation.guid))
    for number, picture in enumerate(drawing.pictures):
        for part, start in enumerate(range(0, len(picture.data), PART)):
            transaction.execute(
                """
                INSERT INTO parked_images (generation_guid, picture, part, data, created_at)
                VALUES (:generation_guid, :picture, :part, :data, :now)
                """,
                generation_guid=str(generation.guid),
                picture=number,
                part=part,
                data=picture.data[start : start + PART],
                now=now,
            )
    # Last, so that the generation's row is locked only briefly.
    found = transaction.execute(
        """
        UPDATE generations
        SET `usage` = :usage, upstream_request_id = :upstream_request_id, answer = :answer, lease_expires_at = :now,
            state = 'running', error = NULL, error_name = NULL, updated_at = :now, expected_images = :images,
            cost_nano = NULL, cost_basis = NULL
        WHERE guid = :guid AND (state = 'running' OR (state = 'failed' AND error_name = :interrupted))
        """,
        guid=str(generation.guid),
        usage=json_to_column(drawing.usage),
        answer=json_to_column(drawing.answer),
        upstream_request_id=drawing.upstream_request_id,
        interrupted=INTERRUPTED,
        now=time_to_column(transaction.now()),
        images=len(drawing.pictures),
    )
    if not found:
        raise ConflictError("The generation no longer runs.")


def lock(transaction: Transaction, guid: UUID) -> Row | None:
    """The state of a generation. Its row is locked until this transaction ends."""
    # A conditional UPDATE locks the row on every database; FOR UPDATE is not in SQLite.
    transaction.execute("UPDATE generations SET state = state WHERE guid = :guid", guid=str(guid))
    return transaction.one(
        "SELECT id, state, expected_images, deleted_images FROM generations WHERE guid = :guid", guid=str(guid)
    )
