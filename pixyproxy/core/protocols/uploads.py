"""Uploads on their way to the upstream."""

from typing import BinaryIO, Protocol

from pixyproxy.core.protocols.storage import Chunk


class Upload(Protocol):
    """Bytes that are received into a file without a name.

    Its methods raise `UploadsFullError` if there is no room, and `StorageUnavailableError`.
    """

    async def write(self, chunk: Chunk) -> None:
        """Append bytes."""

    async def finish(self) -> tuple[BinaryIO, str]:
        """The file, which is read from its start, and the SHA-256 of its bytes. Closing the file frees its room."""

    def close(self) -> None:
        """Discard the file, finished or not; safe to call twice."""


class UploadSpool(Protocol):
    """A place for uploads on their way to the upstream. Nothing is left there when the process ends."""

    async def open(self) -> Upload:
        """Begin an upload; raises what `Upload` raises."""
