"""Completes generations whose pictures were parked in files by a process that ended."""

import logging
from itertools import groupby
from uuid import UUID

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    GenerationNotFoundError,
    ObjectNotFoundError,
    StorageUnavailableError,
)
from pixyproxy.core.generations import GenerationState
from pixyproxy.core.protocols import ParkedFile, Stores
from pixyproxy.service.recovering.findings import Finding, Findings
from pixyproxy.service.recovering.recover import Recovery, has_succeeded

logger = logging.getLogger(__name__)


class ParkedFiles:
    """The files of this machine's parking folder. With `apply` False nothing is changed."""

    def __init__(self, stores: Stores, *, recovery: Recovery, findings: Findings, apply: bool) -> None:
        self._folder = stores.folder
        self._generations = stores.generations
        self._recovery = recovery
        self._findings = findings
        self._apply = apply

    async def take_up(self) -> None:
        """Take up every parked file. Raises what the database raises."""
        try:
            files = sorted(await self._folder.list(), key=lambda file: (file.generation, file.index))
        except StorageUnavailableError as error:
            logger.error("the folder of parked pictures cannot be read", exc_info=error)
            return
        for guid, group in groupby(files, key=lambda file: file.generation):
            fixed = self._apply and await self._take_up(guid, list(group))
            self._findings.add(Finding.FILE, str(guid), fixed=fixed)

    async def _take_up(self, guid: UUID, files: list[ParkedFile]) -> bool:
        """Complete the generation from its parked files and its objects, and remove the files; whether it was done."""
        try:
            generation = await self._generations.get(guid)
            if not has_succeeded(generation, images=files[0].count or 1):
                pictures = {file.index: await self._folder.get(file) for file in files}
                recovered = await self._recovery.collect(generation, pictures, drawn=files[0].count)
                if recovered is None:
                    logger.error("generation %s: some of its pictures are missing: its files are kept", guid)
                    return False
                if not await self._recovery.complete(generation, recovered):
                    logger.error("generation %s: its pictures are not recorded: its files are kept", guid)
                    return False
            for file in files:
                await self._folder.delete(file)
        except DatabaseUnavailableError:
            raise
        except ObjectNotFoundError:  # files are removed after the commit, so a commit by another replica is visible
            if (await self._generations.get(guid)).state is GenerationState.SUCCEEDED:
                logger.info("generation %s: another replica took up its parked files", guid)
                return True
            logger.error("generation %s: a parked file of it was removed, and it is not completed", guid)
            return False
        except StorageUnavailableError:
            return False
        except GenerationNotFoundError:
            logger.error("the parked files of generation %s belong to no generation of this database", guid)
            return False
        except Exception:
            logger.exception("the parked files of generation %s cannot be taken up", guid)
            return False
        return True
