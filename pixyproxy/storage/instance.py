"""The mark in a storage that says to which database its objects belong."""

from uuid import UUID

from pixyproxy.core.exceptions import StorageError

NAME = ".pixyproxy-instance"
"""The file in the folder, or the object below the prefix. No image has such a key."""


def parse_instance(data: bytes) -> UUID:
    """The id that the mark holds; `StorageError` if it holds something else."""
    try:
        return UUID(data.decode().strip())
    except ValueError as error:
        raise StorageError(f"{NAME} in the storage holds no instance id: remove it, and it is written anew.") from error
