"""Writes files durably, and translates errors of the operating system."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixyproxy.core.exceptions import ObjectNotFoundError, StorageUnavailableError


@contextmanager
def file_errors(*, missing: bool = False) -> Iterator[None]:
    """Every `OSError` becomes one of ours; with `missing`, a missing file is a missing object."""
    try:
        yield
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError):
            raise ObjectNotFoundError("The folder holds no such object.") from error
        raise StorageUnavailableError("The folder of the images cannot be used now.") from error


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file completely or not at all: to a temporary name, made durable, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a small file durably; `FileExistsError` if there is one, which stays as it is."""
    with path.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def children(folder: Path) -> list[Path]:
    """The entries of a folder in the order of their names; none if it is not a folder."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
