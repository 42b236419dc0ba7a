"""Partial images: who sees which."""

import asyncio

import pytest

from pixyproxy.core.generations import PartialImage
from pixyproxy.service.generating.partials import MAX_HELD_BYTES, Partials

pytestmark = pytest.mark.anyio


def published(count: int, *, size: int = 1) -> Partials:
    """So many partial images that nobody has seen yet."""
    partials = Partials(3)
    for index in range(count):
        partials.publish(PartialImage(index, bytes(size)))
    return partials


async def seen_in(partials: Partials) -> list[int]:
    return [partial.index async for partial in partials.watch()]


async def test_all_of_a_burst_are_seen_though_it_has_ended() -> None:
    partials = published(3)
    partials.end()
    assert await seen_in(partials) == [0, 1, 2]
    assert await seen_in(partials) == [0, 1, 2], "every watcher sees them"


async def test_of_more_than_three_the_oldest_are_missed() -> None:
    partials = published(5)
    partials.end()
    assert await seen_in(partials) == [2, 3, 4]


async def test_of_large_ones_only_the_newest_is_held() -> None:
    partials = published(3, size=MAX_HELD_BYTES)
    partials.end()
    assert await seen_in(partials) == [2]


async def test_a_watcher_waits_for_the_next_and_sees_each_once() -> None:
    partials = published(1)
    watching = asyncio.create_task(seen_in(partials))
    for index in (1, 2):
        await asyncio.sleep(0)
        partials.publish(PartialImage(index, b"x"))
    await asyncio.sleep(0)
    partials.end()
    assert await asyncio.wait_for(watching, 5) == [0, 1, 2]


async def test_what_is_forgotten_is_no_longer_shown() -> None:
    partials = published(2)
    partials.forget()
    partials.end()
    assert await seen_in(partials) == []
