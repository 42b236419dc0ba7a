"""The open routes for probes: is the process alive, and can it work?"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from pixyproxy.core.exceptions import NotReadyError
from pixyproxy.web.dependencies import Ready
from pixyproxy.web.problems import responses_for

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class ReadyParts(BaseModel):
    """Every part answers."""

    status: Literal["ready"] = "ready"


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Always 200: it asks no part."""
    return Alive()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Can it work?", responses=responses_for(NotReadyError))
async def readyz(readiness: Ready) -> ReadyParts:
    """200 if database and storage answer; 503 names the part that does not."""
    failures = await readiness.failures()
    if failures:
        raise NotReadyError(sorted(failures))
    return ReadyParts()
