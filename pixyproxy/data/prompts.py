"""Removes the prompt of a generation whose last image is deleted."""

import json

from pixyproxy.core.generations import DELETED_PROMPT
from pixyproxy.data.conversions import json_to_column
from pixyproxy.data.database import Transaction


def forget_prompt(transaction: Transaction, generation_id: int) -> None:
    """Remove the prompt from a generation's request if its last image is deleted. State, usage and key stay.

    PixyProxy 0.1.0 does not read a request without a prompt, so `DELETED_PROMPT` stands in its place. A request that
    this version cannot read is replaced as a whole: the prompt may be anywhere in it.
    """
    left = transaction.one(
        "SELECT id FROM images WHERE generation_id = :id AND deleted_at IS NULL LIMIT 1", id=generation_id
    )
    row = transaction.one("SELECT request FROM generations WHERE id = :id", id=generation_id)
    if left is not None or row is None:
        return
    try:
        request = {**json.loads(row["request"]), "prompt": DELETED_PROMPT}
    except (TypeError, ValueError):
        request = {"prompt": DELETED_PROMPT}
    transaction.execute(
        "UPDATE generations SET request = :request WHERE id = :id", request=json_to_column(request), id=generation_id
    )
    forget_revised_prompt(transaction, generation_id)


def forget_revised_prompt(transaction: Transaction, generation_id: int) -> None:
    """Remove the upstream's revised prompt from a generation's answer."""
    row = transaction.one("SELECT answer FROM generations WHERE id = :id", id=generation_id)
    answer = json.loads((row and row["answer"]) or "{}")
    if isinstance(answer, dict) and answer.pop("revised_prompt", None) is not None:
        transaction.execute(
            "UPDATE generations SET answer = :answer WHERE id = :id", answer=json_to_column(answer), id=generation_id
        )
