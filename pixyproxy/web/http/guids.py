"""Guids in URLs."""

from typing import Annotated
from uuid import UUID

from fastapi import Path
from pydantic import BeforeValidator


def canonical(value: str) -> str:
    """Refuse the other spellings of a UUID that Python reads: an image has one URL."""
    if len(value) != 36:
        raise ValueError("must be a UUID of 36 characters")
    return value


EXAMPLE = "7f3c2a52-5ad0-5b8e-9a75-1a6c1d5c2b11"
CanonicalGuid = Annotated[UUID, BeforeValidator(canonical)]
Guid = Annotated[CanonicalGuid, Path(description="The image's guid.", examples=[EXAMPLE])]
GenerationGuid = Annotated[CanonicalGuid, Path(description="The generation's guid.", examples=[EXAMPLE])]
