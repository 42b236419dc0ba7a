"""The routes of API keys."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import Body, Depends, Path
from starlette.responses import Response

from pixyproxy.core.budgets import Spending, unspent
from pixyproxy.core.exceptions import (
    AuthenticationError,
    ConflictError,
    CrossSiteError,
    DatabaseUnavailableError,
    InvalidRequestError,
    KeyNotFoundError,
    MalformedRequestError,
    NotAllowedError,
    PayloadTooLargeError,
    PixyProxyException,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)
from pixyproxy.core.keys import ApiKey, Scope
from pixyproxy.service.money.budgets import BudgetService
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import needs, private_router
from pixyproxy.web.dependencies import Administered, BaseUrl, Budgeted
from pixyproxy.web.http.links import path_of
from pixyproxy.web.keys.body import ChangeKeyBody, CreateKeyBody, RotateKeyBody
from pixyproxy.web.keys.budgets import limits_in
from pixyproxy.web.keys.details import KeyDetails, NewKey
from pixyproxy.web.log.request_log import add_facts
from pixyproxy.web.problems import responses_for


def keep_nothing(response: Response) -> None:
    """No cache keeps an answer about keys."""
    response.headers["Cache-Control"] = "no-store"


router = private_router()
router.dependencies.append(Depends(keep_nothing))
Name = Annotated[str, Path(description="The key's name.", examples=["shop"])]
OF_READING: tuple[type[PixyProxyException], ...] = (AuthenticationError, NotAllowedError, DatabaseUnavailableError)
OF_CHANGING = (*OF_READING, CrossSiteError, ConflictError, KeyNotFoundError)
OF_BODIES = (
    MalformedRequestError,
    RequestTimeoutError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
    InvalidRequestError,
)
ADMIN = needs(Scope.ADMIN)


async def of_one(key: ApiKey, budgets: BudgetService) -> Sequence[Spending]:
    """The budgets of a key."""
    return (await budgets.of_keys([key])).get(key.id, ())


@router.get(
    "/key",
    summary="The list of API keys",
    tags=["keys"],
    responses=responses_for(*OF_READING),
    openapi_extra=ADMIN,
)
async def list_keys(caller: Authenticated, keys: Administered, budgets: Budgeted) -> list[KeyDetails]:
    """All keys, oldest first, those that are no longer valid included."""
    listed = await keys.list(caller=caller)
    found = await budgets.of_keys(listed)
    return [KeyDetails.of(key, now=keys.now(), budgets=found.get(key.id, ())) for key in listed]


@router.post(
    "/key",
    status_code=201,
    summary="Make an API key",
    tags=["keys"],
    responses=responses_for(*OF_READING, CrossSiteError, ConflictError, *OF_BODIES),
    openapi_extra=ADMIN,
)
async def create_key(
    body: CreateKeyBody,
    caller: Authenticated,
    keys: Administered,
    base_url: BaseUrl,
    response: Response,
) -> NewKey:
    """A new key, which only this answer has. Every replica accepts it within a second or so."""
    limits = limits_in(body.budgets)
    secret, key = await keys.create(body.name, body.to_rights(), caller=caller, budgets=limits)
    add_facts(key_name=key.name)
    response.headers["Location"] = f"{path_of(base_url)}/key/{key.name}"
    return NewKey.made(secret, key, now=keys.now(), budgets=unspent(key.id, limits, at=keys.now()))


@router.get(
    "/key/self",
    summary="One's own API key",
    tags=["keys"],
    responses=responses_for(AuthenticationError, KeyNotFoundError, DatabaseUnavailableError),
)
async def get_own_key(caller: Authenticated, keys: Administered, budgets: Budgeted) -> KeyDetails:
    """Who asks, what it may do, and what it may spend. Every key may ask this."""
    key = await keys.own(caller)
    return KeyDetails.of(key, now=keys.now(), budgets=await of_one(key, budgets))


@router.get(
    "/key/{name}",
    summary="An API key's details",
    tags=["keys"],
    responses=responses_for(*OF_READING, KeyNotFoundError),
    openapi_extra=ADMIN,
)
async def get_key(name: Name, caller: Authenticated, keys: Administered, budgets: Budgeted) -> KeyDetails:
    """The key of this name, in force or not."""
    key = await keys.get(name, caller=caller)
    return KeyDetails.of(key, now=keys.now(), budgets=await of_one(key, budgets))


@router.patch(
    "/key/{name}",
    summary="Change an API key",
    tags=["keys"],
    responses=responses_for(*OF_CHANGING, *OF_BODIES),
    openapi_extra=ADMIN,
)
async def change_key(
    name: Name, body: ChangeKeyBody, caller: Authenticated, keys: Administered, budgets: Budgeted
) -> KeyDetails:
    """From now on this process grants what the key may do now; all others do within a second or so.

    What the key has begun to draw continues.
    """
    key = await keys.change(name, body.changes(), caller=caller, budgets=limits_in(body.budgets))
    return KeyDetails.of(key, now=keys.now(), budgets=await of_one(key, budgets))


@router.post(
    "/key/{name}/rotate",
    summary="Rotate an API key",
    tags=["keys"],
    responses=responses_for(*OF_CHANGING, *OF_BODIES),
    openapi_extra=ADMIN,
)
async def rotate_key(
    name: Name,
    caller: Authenticated,
    keys: Administered,
    budgets: Budgeted,
    body: Annotated[RotateKeyBody | None, Body()] = None,
) -> NewKey:
    """The same key with a new secret, which only this answer has. Without a body the former one is valid for a day."""
    overlap = (body or RotateKeyBody()).overlap
    known = await of_one(await keys.get(name, caller=caller), budgets)  # afterwards nothing may keep the secret back
    secret, key = await keys.rotate(name, caller=caller, overlap=timedelta(seconds=overlap))
    return NewKey.made(secret, key, now=keys.now(), budgets=known)


@router.delete(
    "/key/{name}",
    status_code=204,
    response_class=Response,
    summary="Revoke an API key",
    tags=["keys"],
    responses=responses_for(*OF_CHANGING),
    openapi_extra=ADMIN,
)
async def revoke_key(name: Name, caller: Authenticated, keys: Administered) -> Response:
    """From the 204 on this process refuses the key and its sessions; all others do within a second or so.

    Its record stays: it owns what it has drawn.
    """
    await keys.revoke(name, caller=caller)
    return Response(status_code=204, headers={"Cache-Control": "no-store"})
