"""The public routes for probes: is the process alive, does it take requests, do its parts answer?"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from pixyproxy.core.exceptions import NotReadyError, PixyProxyException
from pixyproxy.web.dependencies import Ready
from pixyproxy.web.problems import responses_for

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class IsReady(BaseModel):
    """What was probed is ready."""

    status: Literal["ready"] = "ready"


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Always 200: it probes no part."""
    return Alive()


@router.head("/readyz/process", include_in_schema=False)
@router.get("/readyz/process", summary="Does this process take requests?", responses=responses_for(NotReadyError))
async def readyz_process(readiness: Ready) -> IsReady:
    """200 until the process begins to end, then 503. It probes no part: for a load balancer."""
    return require_none(readiness.process_failures())


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Do the process and its parts work?", responses=responses_for(NotReadyError))
async def readyz(readiness: Ready) -> IsReady:
    """200 if database and storage answer and belong together, and the process is not ending; 503 says why not.

    For monitoring.
    """
    return require_none(await readiness.failures())


def require_none(failures: dict[str, PixyProxyException]) -> IsReady:
    """The answer without failures; `NotReadyError` names them."""
    if failures:
        raise NotReadyError(failures)
    return IsReady()
