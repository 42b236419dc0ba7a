"""Inputs: the images from which a generation starts when it edits."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal
from uuid import UUID

from pixyproxy.core.content_types import ContentType
from pixyproxy.core.model import Model

Role = Literal["image", "mask", "markup"]


class Input(Model):
    """An input as a record has it: its bytes are not kept. `guid`: of the image that is stored here, if it is one."""

    role: Role
    sha256: str
    content_type: ContentType
    size_bytes: int
    guid: UUID | None = None


def readable_inputs(recorded: Iterable[Any]) -> tuple[Input, ...]:
    """The inputs of a record. What another version wrote and this one cannot read is left out."""
    found = []
    for each in recorded:
        with suppress(ValueError):
            found.append(Input.model_validate(each, extra="ignore"))
    return tuple(found)


@dataclass(frozen=True)
class InputFile:
    """The bytes of an input, in a file without a name that is read from its start."""

    facts: Input
    file: BinaryIO


class InputFiles:
    """All inputs of a request. Whoever is given them, or shares them, closes them; closing twice does no harm.

    `refusal`: why they cannot be drawn. Such inputs only say which recorded generation they belong to.
    """

    def __init__(self, files: Sequence[InputFile] = (), *, refusal: Exception | None = None) -> None:
        self.files = tuple(files)
        self.refusal = refusal
        self._holders: set[object] = {self}

    @property
    def facts(self) -> tuple[Input, ...]:
        """What a record has of them."""
        return tuple(each.facts for each in self.files)

    def share(self) -> "InputFiles":
        """The same files for another holder."""
        shared = InputFiles(self.files, refusal=self.refusal)
        shared._holders = self._holders
        shared._holders.add(shared)
        return shared

    def close(self) -> None:
        """Free the files, and their room on the disk, unless another holder has yet to close them."""
        self._holders.discard(self)
        if not self._holders:
            for each in self.files:
                each.file.close()
