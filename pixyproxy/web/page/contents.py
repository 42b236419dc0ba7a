"""The files of the page: read once, and sent below a URL that names what is in all of them.

`index.html` and every file with a suffix of `MEDIA_TYPES` lie flat in `files/`. Among each other the files use relative
URLs. `index.html` writes `{static}/page.css`, of which `{static}` becomes `static/` and the hash of all files: relative
to `/` too, so that the page works behind a proxy that adds a prefix to every path.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from pixyproxy.web.http.compression import pack

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX, INDEX_TYPE = "index.html", "text/html; charset=utf-8"
PLACEHOLDER = b"{static}/"
HASH_LENGTH = 32


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent: its bytes, and the same compressed."""

    media_type: str
    plain: bytes
    packed: bytes
    etag: str


@dataclass(frozen=True)
class Page:
    """The document at `/`, and the other files by their names, below `/static/{version}/`."""

    version: str
    document: PageFile
    files: Mapping[str, PageFile]


@cache
def load_page() -> Page:
    """The page of this package, read and compressed at the first call."""
    folder = files("pixyproxy.web.page").joinpath("files")
    return build_page({file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()})


def build_page(contents: Mapping[str, bytes]) -> Page:
    """The page that these files make. Files of other types are no part of it."""
    wanted = {name: contents[name] for name in sorted(contents) if name == INDEX or suffix_of(name) in MEDIA_TYPES}
    version = digest(b"".join(name.encode() + b"\0" + hashlib.sha256(data).digest() for name, data in wanted.items()))
    document = wanted.pop(INDEX).replace(PLACEHOLDER, f"static/{version}/".encode())
    return Page(
        version=version,
        document=page_file(document, INDEX_TYPE),
        files={name: page_file(data, MEDIA_TYPES[suffix_of(name)]) for name, data in wanted.items()},
    )


def page_file(data: bytes, media_type: str) -> PageFile:
    """A file of this type."""
    return PageFile(media_type=media_type, plain=data, packed=pack(data), etag=f'"{digest(data)}"')


def digest(data: bytes) -> str:
    """The beginning of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:HASH_LENGTH]


def suffix_of(name: str) -> str:
    """The suffix of a file's name, with its dot."""
    return PurePath(name).suffix
