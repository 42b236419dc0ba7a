"""How the demo upstream misbehaves on request."""

from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import anyio.to_thread


@dataclass(frozen=True)
class Fault:
    """How the demo upstream misbehaves, for each request until this is changed."""

    kind: Literal["status", "drip", "truncated", "html", "magic", "url", "empty", "hang", "break", "redirect"]
    status: int = 500
    code: str | None = None
    message: str = "The demo upstream was told to fail."
    headers: dict[str, str] = field(default_factory=dict)


async def drip(text: bytes) -> Any:
    """One byte after the other, fast enough for every timeout that counts from read to read."""
    for position in range(len(text)):
        yield text[position : position + 1]
        await anyio.sleep(0.05)


async def break_off(text: bytes) -> Any:
    """Half of what was announced."""
    yield text[: len(text) // 2]
