"""The object in a storage that names the database to which it belongs."""

from uuid import UUID

from pixyproxy.core.exceptions import DamagedMarkError

NAME = ".pixyproxy-instance"
"""The file in the folder, or the object below the prefix. No image has such a key."""


def parse_instance(data: bytes) -> UUID:
    """The id in that object; `DamagedMarkError` if it has other content."""
    try:
        return UUID(data.decode().strip())
    except ValueError as error:
        raise DamagedMarkError(
            f"{NAME} in the storage holds no instance id: remove it, and it is written anew."
        ) from error
