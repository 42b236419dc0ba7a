"""The upstream's event stream (`text/event-stream`): partial images, then the picture, or an error."""

from collections.abc import Callable, Mapping
from typing import Any

from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.generations import PartialImage
from pixyproxy.upstream.openai.answer import Answer, answer_of, storable_usage
from pixyproxy.upstream.openai.scanner import JsonScanner

PARTIAL = ("image_generation.partial_image", "image_edit.partial_image")
COMPLETED = ("image_generation.completed", "image_edit.completed")
DATA, EVENT = b"data:", b"event:"
LONGEST_FIELD = 256
"""Bytes that are kept of a line other than data."""
MAX_INDEX = 100


class EventScanner:
    """Parses the body of an event stream in chunks of any size. The limits of one answer apply to each event.

    Each partial image, up to `wanted`, is handed to `publish` and forgotten. `completed` is the picture, and `error`
    the error of the stream, once they have arrived. Comments, `[DONE]` and unknown events are ignored. The kind of an
    event is the `type` in its JSON, as for the clients of the openai package.
    """

    def __init__(self, *, wanted: int = 0, publish: Callable[[PartialImage], None] | None = None) -> None:
        self._wanted = wanted
        self._publish = publish
        self._line = bytearray()
        self._in_data = False
        self._after_cr = False
        self._event = ""
        self._json: JsonScanner | None = None
        self._partials = 0
        self.completed: Answer | None = None
        self.error: Mapping[str, Any] | None = None

    @property
    def has_drawn(self) -> bool:
        """Whether the upstream has reported that it draws."""
        return self._partials > 0 or self.completed is not None

    @property
    def has_begun_the_picture(self) -> bool:
        """Whether base64 has begun that may be the picture's.

        The `event:` line, or a `type` before the base64, identifies a partial image. All upstreams that we know send
        both. An event whose `type` follows its base64 counts as the picture.
        """
        if self.completed is not None:
            return True
        if self._json is None or not self._json.has_begun_a_picture:
            return False
        return self._event not in PARTIAL and not any(self._json.has(kind.encode()) for kind in PARTIAL)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. `UpstreamAnswerError` if an event is too large, or `completed` holds no picture."""
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        for line in chunk.splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            self._take(text)
            if len(text) < len(line):
                self._end_line()
        if chunk:
            self._after_cr = chunk.endswith(b"\r")

    def finish(self) -> None:
        """The stream has ended. A complete last event counts even without the empty line after it."""
        self._end_line()
        self._end_event()

    def _take(self, text: bytes) -> None:
        if self._in_data:
            self._take_data(text)
            return
        known = len(self._line)
        self._line += text[: LONGEST_FIELD - known]
        if self._line.startswith(DATA):
            self._in_data = True
            self._take_data(text[len(DATA) - known :])

    def _take_data(self, text: bytes) -> None:
        if self._json is None:
            self._json = JsonScanner(images=2 if self._event in PARTIAL else 1)  # another picture follows it
        self._json.feed(text)

    def _end_line(self) -> None:
        if self._in_data:
            self._take_data(b"\n")
        elif not self._line:
            self._end_event()
        elif self._line.startswith(EVENT):
            self._event = self._line[len(EVENT) :].strip().decode("latin-1")
        self._line.clear()
        self._in_data = False

    def _end_event(self) -> None:
        scanner, event = self._json, self._event
        self._json, self._event = None, ""
        if scanner is None:
            return
        try:
            document = scanner.document()
        except ValueError:
            return
        if self.completed is None and self.error is None:
            self._read(document, scanner, event)

    def _read(self, document: dict[str, Any], scanner: JsonScanner, event: str) -> None:
        kind, error = document.get("type"), document.get("error")
        if error is not None or "error" in (event, kind):
            self.error = error if isinstance(error, dict) else {"message": error, **document}
            return
        picture = scanner.picture(document.get("b64_json"))
        if kind in COMPLETED:
            if picture is None:
                raise UpstreamAnswerError("The upstream's last event holds no picture in base64, or broken base64.")
            answer = answer_of(document, [document.get("revised_prompt")])
            self.completed = Answer((picture,), usage=storable_usage(document.get("usage")), answer=answer or None)
        elif kind in PARTIAL:
            if picture is not None and self._publish is not None and self._partials < self._wanted:
                index: Any = document.get("partial_image_index")
                known = type(index) is int and 0 <= index <= MAX_INDEX
                self._publish(PartialImage(index if known else self._partials, picture.data, answer_of(document, [])))
            self._partials += 1
