"""The answer to a request whose generation has ended."""

from pixyproxy.core.exceptions import (
    ImageDeletedError,
    OutcomeUnknownError,
    PixyProxyException,
    error_from_document,
)
from pixyproxy.core.generations import Generation, GenerationState


def require_success(generation: Generation, *, replayed: bool = False) -> Generation:
    """The generation, if it runs or has images. Raises its failure, or `ImageDeletedError`.

    `replayed`: an earlier request with the same Idempotency-Key began it.
    """
    if generation.state is GenerationState.FAILED:
        raise failure_of(generation, replayed=replayed)
    if generation.state is GenerationState.SUCCEEDED and not generation.images:
        deleted = ImageDeletedError(
            f"Generation {generation.guid} succeeded, and its image was deleted since. Take a new Idempotency-Key to "
            "buy another one."
        )
        deleted.replayed = replayed
        raise deleted
    return generation


def failure_of(generation: Generation, *, replayed: bool) -> PixyProxyException:
    """The recorded failure. A replay of one that may have been billed is an `OutcomeUnknownError` instead."""
    error = error_from_document(generation.error or {}, replayed=replayed)
    error.extra["generation"] = str(generation.guid)
    if not replayed or error.cost in ("none", "billed"):
        return error
    unknown = OutcomeUnknownError(
        f"Generation {generation.guid} had this Idempotency-Key. The upstream may have drawn and billed it, so it is "
        "not asked again; take a new Idempotency-Key to buy another picture.",
        extra={"generation": str(generation.guid), "cause": error.type},
    )
    unknown.replayed = True
    return unknown
