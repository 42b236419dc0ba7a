"""Previews wait neither for a storage that does not answer nor for each other without a bound."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pixyproxy.core.exceptions import ThumbnailImpossibleError, TooManyThumbnailsError
from pixyproxy.service.previews import Previews
from tests.fakes import FakeObject, FakeStorage
from tests.stage import Stage

pytestmark = pytest.mark.anyio
ENOUGH = 5
"""Seconds in which a wait without a bound shows."""


class StalledObject(FakeObject):
    """It sends nothing, and needs a moment to close."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await anyio.sleep_forever()
        yield b""

    async def aclose(self) -> None:
        """Close."""
        await anyio.lowlevel.checkpoint()
        await super().aclose()


class StallingStorage(FakeStorage):
    """Opens objects that send nothing."""

    async def open(self, key: str, **_: Any) -> FakeObject:
        """Open one."""
        self.opened.append(StalledObject(self.objects[key]))
        return self.opened[-1]


async def test_previews_of_a_storage_that_does_not_answer_are_given_up() -> None:
    stage = Stage()
    await stage.create()
    (image,) = stage.images.images.values()
    stage.storage.before_open = lambda _: anyio.sleep_forever()
    previews = Previews(stage.public, stage.shrinker, patience=0.05)
    with anyio.fail_after(ENOUGH):
        assert await asyncio.gather(*(previews.of(image) for _ in range(3))) == [None] * 3
        stage.storage.before_open = None
        assert await Previews(stage.public, stage.shrinker).of(image) is not None


async def test_a_picture_that_stalls_is_given_up_and_closed() -> None:
    stage = Stage(storage=StallingStorage())
    await stage.create()
    (image,) = stage.images.images.values()
    with anyio.fail_after(ENOUGH):
        assert await Previews(stage.public, stage.shrinker, patience=0.05).of(image) is None
    assert [opened.closed for opened in stage.storage.opened] == [True]


async def test_a_decoder_that_hangs_is_given_up() -> None:
    stage = Stage()
    await stage.create()
    (image,) = stage.images.images.values()
    stage.shrinker.before = anyio.sleep_forever
    with anyio.fail_after(ENOUGH):
        assert await Previews(stage.public, stage.shrinker, patience=0.05).of(image) is None
    assert stage.shrinker.edges == [512]


async def test_a_picture_without_a_thumbnail_has_no_preview() -> None:
    stage = Stage()
    await stage.create()
    (image,) = stage.images.images.values()
    for failure in (ThumbnailImpossibleError("damaged"), TooManyThumbnailsError()):
        stage.shrinker.failure = failure
        assert await Previews(stage.public, stage.shrinker).of(image) is None
