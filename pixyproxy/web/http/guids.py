"""Guids in URLs."""

from typing import Annotated
from uuid import UUID

from fastapi import Path
from pydantic import BeforeValidator


def canonical(value: str) -> str:
    """Refuse the other spellings of a UUID, upper case included: an image has one URL, and one copy in a cache."""
    if len(value) != 36 or value != value.lower():
        raise ValueError("must be a UUID of 36 characters, in lower case")
    return value


EXAMPLE = "7f3c2a52-5ad0-5b8e-9a75-1a6c1d5c2b11"
CanonicalGuid = Annotated[UUID, BeforeValidator(canonical)]
Guid = Annotated[CanonicalGuid, Path(description="The image's guid.", examples=[EXAMPLE])]
GenerationGuid = Annotated[CanonicalGuid, Path(description="The generation's guid.", examples=[EXAMPLE])]
