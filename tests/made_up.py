"""Galleries of pictures that do not exist: requests for them are answered in the browser, before the service."""

import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from PIL import Image
from playwright.sync_api import Route, expect

from tests.browsing import Browsers
from tests.page_stage import CALLER, PageService, Person

SHAPES = ((1024, 1024), (1536, 1024), (1024, 1536), (2048, 1024), (1600, 900), (400, 1600), (3000, 500))
LISTS = re.compile(r"/image\?")
ONE = re.compile(r"/image/[0-9a-f-]{36}$")
NEWEST = datetime(2026, 11, 3, 22, tzinfo=UTC)


def thumbnail() -> bytes:
    """Bytes that stand for every thumbnail."""
    data = io.BytesIO()
    Image.new("RGB", (48, 32), "teal").save(data, "WEBP")
    return data.getvalue()


class MadeUp:
    """So many pictures, all of one day or `of_a_day` a day, newest first. `deleted` are the guids of those."""

    def __init__(self, count: int, *, of_a_day: int = 100_000) -> None:
        self.deleted: list[str] = []
        self._images = [_details(number, NEWEST - timedelta(days=number // of_a_day)) for number in range(count)]
        self._thumbnail = thumbnail()

    @property
    def guids(self) -> list[str]:
        """All guids, newest first."""
        return [image["guid"] for image in self._images]

    def open(self, browsers: Browsers, service: PageService, *, script: str = "", **options: Any) -> Person:
        """Somebody who sees them as the pictures of this service; `script` runs before the page's own."""
        watched = browsers.new(service.url, **options)
        watched.page.add_init_script(script)
        watched.page.route(LISTS, self._list)
        watched.page.route(ONE, self._delete)
        watched.page.route("**/thumbnail?*", self._show)
        watched.page.goto(service.login_url())
        person = Person(watched).wait()
        expect(person.tiles.first).to_be_visible()
        return person

    def _list(self, route: Route) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(route.request.url).query).items()}
        first = int(asked.get("cursor", 0))
        end = first + int(asked["limit"])
        link = {"Link": f'</image?cursor={end}>; rel="next"'} if end < len(self._images) else {}
        body = json.dumps(self._images[first:end])
        route.fulfill(body=body, content_type="application/json", headers=link)

    def _show(self, route: Route) -> None:
        route.fulfill(body=self._thumbnail, content_type="image/webp")

    def _delete(self, route: Route) -> None:
        assert route.request.method == "DELETE"
        self.deleted.append(route.request.url.rsplit("/", 1)[1])
        route.fulfill(status=204)


def _details(number: int, made: datetime) -> dict[str, Any]:
    width, height = SHAPES[number * number % 11 % len(SHAPES)]
    guid = str(UUID(int=number + 1))
    return {
        "guid": guid,
        "prompt": f"made up {number}",
        "url": f"http://127.0.0.1/image/{guid}/content",
        "content_type": "image/png",
        "size_bytes": 1_500_000,
        "width": width,
        "height": height,
        "sha256": "0" * 64,
        "model": "gpt-image-2",
        "thumbhash": "k0oGLQaSVsN0BVhn2oq2Z5SQUQcZ",
        "sources": [],
        "created_at": f"{made:%Y-%m-%dT%H:%M:%SZ}",
        "caller": CALLER,
    }
