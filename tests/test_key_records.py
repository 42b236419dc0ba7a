"""One contract for every implementation of `ApiKeyRepository`, and what the migration makes of old keys."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from pixyproxy.core.exceptions import ConflictError, NotFoundError
from pixyproxy.core.keys import (
    CONFIGURED_ID,
    CONFIGURED_NAME,
    EVERYTHING,
    OF_A_NEW_KEY,
    ApiKey,
    KeyLimits,
    KeyRights,
    Scope,
)
from pixyproxy.core.protocols import ApiKeyRepository
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.cached_keys import CachedApiKeyRepository
from pixyproxy.data.database import SqlDatabase
from pixyproxy.data.init import MIGRATIONS, migrate, open_database, open_engine
from pixyproxy.service.keys import digest
from tests.fakes import FakeApiKeyRepository
from tests.servers import SqlServer

pytestmark = pytest.mark.anyio

SOON = datetime(2126, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)
ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
RIGHTS = KeyRights(
    scopes=frozenset({Scope.READ_ALL, Scope.ADMIN}),
    expires_at=SOON,
    note="für die Küche 🎨",
    limits=KeyLimits(rate_per_minute=30, running_limit=4, replica_share=50),
)


@dataclass
class Keys:
    """One implementation, twice: as two processes have it, over the same records."""

    here: ApiKeyRepository
    there: ApiKeyRepository
    database: SqlDatabase | None = None

    async def a_key(self, name: str = "laptop", sha256: str = ONE, rights: KeyRights = RIGHTS) -> ApiKey:
        """A new key."""
        return await self.here.add(name=name, prefix=f"pxp_{sha256[:4]}", sha256=sha256, rights=rights)


@pytest.fixture(scope="module")
def migrated() -> dict[str, str]:
    """The URL of a migrated database on each server."""
    return {}


@pytest.fixture(params=["fake", "cached", "sqlite", "mysql", "mariadb"])
def keys(
    request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str], migrated: dict[str, str]
) -> Iterator[Keys]:
    """Records without a key, but that of the setting."""
    if request.param in ("fake", "cached"):
        fake = FakeApiKeyRepository()
        cached = request.param == "cached"
        both = [CachedApiKeyRepository(fake, ttl=0) if cached else fake for _ in range(2)]
        yield Keys(both[0], both[1])
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/pixyproxy.db"
        migrate(url)
    else:
        server: SqlServer = request.getfixturevalue(request.param)
        if request.param not in migrated:
            migrated[request.param] = server.create(unique())
            migrate(migrated[request.param])
        url = migrated[request.param]
        server.query("DELETE FROM api_keys WHERE id <> 0", database=url.rpartition("/")[2])
    opened = [open_database(url) for _ in range(2)]
    processes = [SqlApiKeyRepository(database) for database, _ in opened]
    yield Keys(processes[0], processes[1], opened[0][0])
    for _, close in opened:
        close()


SQL = pytest.mark.parametrize("keys", ["sqlite", "mysql", "mariadb"], indirect=True)


async def test_what_a_key_may_do_comes_back_as_it_went_in(keys: Keys) -> None:
    made = await keys.a_key()
    assert made.rights == RIGHTS
    for found in (
        await keys.there.get(sha256=ONE),
        await keys.there.find(name="laptop"),
        await keys.there.find_id(made.id),
        *(await keys.there.list()),
    ):
        assert found == made


async def test_a_key_of_which_nothing_is_said_may_draw_and_read_and_delete_its_own(keys: Keys) -> None:
    made = await keys.here.add(name="laptop", prefix="pxp_1111", sha256=ONE)
    assert made.rights == KeyRights()
    assert made.rights.scopes == OF_A_NEW_KEY == {Scope.DRAW, Scope.READ, Scope.DELETE}


async def test_a_changed_key_is_found_by_its_new_name_and_its_digest_and_keeps_its_id(keys: Keys) -> None:
    made = await keys.a_key()
    rights = KeyRights(scopes=frozenset({Scope.DRAW}))
    changed = await keys.here.change(name="laptop", change=lambda key: key.changed(name="desk", rights=rights))
    assert changed == made.changed(name="desk", rights=rights)
    assert await keys.there.find(name="desk") == await keys.there.get(sha256=ONE) == changed
    assert await keys.there.names([made.id]) == {made.id: "desk"}
    with pytest.raises(NotFoundError):
        await keys.there.find(name="laptop")
    with pytest.raises(NotFoundError):
        await keys.here.change(name="laptop", change=lambda key: key)


async def test_a_key_that_is_renamed_to_one_that_exists_stays_as_it_was(keys: Keys) -> None:
    made, other = await keys.a_key(), await keys.a_key("desk", TWO)
    await keys.here.revoke(name="desk")
    for taken in (other.name, CONFIGURED_NAME):
        with pytest.raises(ConflictError):
            await keys.here.change(name="laptop", change=lambda key, name=taken: key.changed(name=name))  # type: ignore[misc]
    assert await keys.there.find(name="laptop") == made
    assert await keys.here.change(name="laptop", change=lambda key: key.changed(name="laptop")) == made


async def test_whoever_allows_a_change_sees_all_keys_before_and_after_and_may_refuse(keys: Keys) -> None:
    made, other = await keys.a_key(), await keys.a_key("desk", TWO)
    seen: list[tuple[list[ApiKey], list[ApiKey]]] = []

    def refuse(before: Sequence[ApiKey], after: Sequence[ApiKey]) -> None:
        seen.append((list(before), list(after)))
        raise ConflictError("no")

    narrow = KeyRights(scopes=frozenset({Scope.READ}))
    with pytest.raises(ConflictError, match="no"):
        await keys.here.change(name="laptop", change=lambda key: key.changed(rights=narrow), allow=refuse)
    with pytest.raises(ConflictError, match="no"):
        await keys.here.revoke(name="desk", allow=refuse)
    assert [before for before, _ in seen] == [[made, other]] * 2
    assert seen[0][1] == [made.changed(rights=narrow), other]
    assert [key.revoked_at is None for key in seen[1][1]] == [True, False]
    assert await keys.there.list() == (made, other)


async def test_a_rotated_key_has_two_secrets_for_a_time_and_stays_one_key(keys: Keys) -> None:
    made = await keys.a_key()
    rotated = await keys.here.rotate(name="laptop", prefix="pxp_2222", sha256=TWO, until=SOON)
    assert rotated == made.model_copy(update={"prefix": "pxp_2222", "former_until": SOON})
    assert await keys.there.get(sha256=TWO) == rotated.model_copy(update={"former_until": None})
    former = await keys.there.get(sha256=ONE)
    assert (former.id, former.name, former.rights, former.secret_expires_at) == (made.id, "laptop", RIGHTS, SOON)
    assert former.in_force(SOON - timedelta(microseconds=1))
    assert not former.in_force(SOON)
    assert await keys.there.list() == (rotated,)
    assert await keys.there.names(range(made.id + 5)) == {made.id: "laptop", CONFIGURED_ID: CONFIGURED_NAME}
    with pytest.raises(ConflictError):
        await keys.here.add(name="thief", prefix="pxp_1111", sha256=ONE)


async def test_a_shorter_overlap_shortens_those_of_earlier_rotations_and_a_longer_one_does_not_lengthen_them(
    keys: Keys,
) -> None:
    await keys.a_key()
    early, late = SOON - timedelta(days=1), SOON + timedelta(days=1)
    await keys.here.rotate(name="laptop", prefix="pxp_2222", sha256=TWO, until=SOON)
    await keys.here.rotate(name="laptop", prefix="pxp_3333", sha256=THREE, until=late)
    assert [(await keys.there.get(sha256=each)).secret_expires_at for each in (ONE, TWO)] == [SOON, late]
    rotated = await keys.here.rotate(name="laptop", prefix="pxp_4444", sha256="4" * 64, until=early)
    assert [(await keys.there.get(sha256=each)).secret_expires_at for each in (ONE, TWO, THREE)] == [early] * 3
    assert rotated.former_until == early


async def test_a_revoked_key_ends_with_all_its_secrets_and_gets_no_other(keys: Keys) -> None:
    await keys.a_key()
    await keys.here.rotate(name="laptop", prefix="pxp_2222", sha256=TWO, until=SOON)
    await keys.here.revoke(name="laptop")
    for sha256 in (ONE, TWO):
        assert (await keys.there.get(sha256=sha256)).revoked_at is not None
    with pytest.raises(NotFoundError):
        await keys.here.rotate(name="laptop", prefix="pxp_3333", sha256=THREE, until=SOON)
    with pytest.raises(NotFoundError):
        await keys.there.get(sha256=THREE)


async def test_the_key_of_the_setting_has_a_record_that_no_digest_opens_and_no_list_has(keys: Keys) -> None:
    await keys.a_key()
    for found in (await keys.here.find_id(CONFIGURED_ID), await keys.here.find(name=CONFIGURED_NAME)):
        assert (found.id, found.name, found.prefix) == (CONFIGURED_ID, CONFIGURED_NAME, "")
        assert found.rights == KeyRights(scopes=EVERYTHING)
        assert found.in_force(SOON)
    assert [key.name for key in await keys.here.list()] == ["laptop"]
    for nothing in ("", "0" * 64):
        with pytest.raises(NotFoundError):
            await keys.here.get(sha256=nothing)
    with pytest.raises(ConflictError):
        await keys.a_key(CONFIGURED_NAME, TWO)


async def test_an_unknown_key_is_neither_found_nor_changed(keys: Keys) -> None:
    for work in (
        keys.here.find_id(987_654),
        keys.here.change(name="nobody", change=lambda key: key),
        keys.here.rotate(name="nobody", prefix="pxp_2222", sha256=TWO, until=SOON),
        keys.here.revoke(name="nobody"),
    ):
        with pytest.raises(NotFoundError):
            await work


@SQL
async def test_changes_of_two_processes_at_once_lose_nothing(keys: Keys) -> None:
    await keys.a_key(rights=KeyRights())

    def noted(key: ApiKey) -> ApiKey:
        return key.changed(rights=key.rights.model_copy(update={"note": f"{key.rights.note or ''}x"}))

    await asyncio.gather(*(process.change(name="laptop", change=noted) for process in (keys.here, keys.there) * 5))
    assert (await keys.here.find(name="laptop")).rights.note == "x" * 10


@SQL
async def test_of_two_that_revoke_each_other_at_once_one_is_left(keys: Keys) -> None:
    await keys.a_key()
    await keys.a_key("desk", TWO)

    def keep_one(_: Sequence[ApiKey], after: Sequence[ApiKey]) -> None:
        if not any(key.revoked_at is None for key in after):
            raise ConflictError("the last one")

    outcomes = await asyncio.gather(
        keys.here.revoke(name="laptop", allow=keep_one),
        keys.there.revoke(name="desk", allow=keep_one),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["ConflictError", "NoneType"]
    assert len([key for key in await keys.here.list() if key.revoked_at is None]) == 1


@SQL
async def test_rotations_at_once_leave_one_secret_that_does_not_end(keys: Keys) -> None:
    await keys.a_key()
    digests = [digest(str(number)) for number in range(6)]
    await asyncio.gather(
        *(
            (keys.here, keys.there)[number % 2].rotate(name="laptop", prefix="pxp_rrrr", sha256=each, until=SOON)
            for number, each in enumerate(digests)
        )
    )
    ends = [(await keys.here.get(sha256=each)).secret_expires_at for each in (ONE, *digests)]
    assert sorted(ends, key=str) == [SOON] * 6 + [None]


@SQL
async def test_what_other_versions_write_is_read_as_far_as_it_is_known(keys: Keys) -> None:
    made = await keys.a_key()
    database = keys.database
    assert database is not None
    for scopes, expected in (
        (None, EVERYTHING),
        ("draw paint", {Scope.DRAW}),
        ("paint", set()),
        ("", set()),
        ("read  admin", {Scope.READ, Scope.ADMIN}),
    ):
        await database.execute(
            "UPDATE api_keys SET scopes = :scopes, replica_share = 900 WHERE id = :id", scopes=scopes, id=made.id
        )
        found = await keys.here.get(sha256=ONE)
        assert (found.rights.scopes, found.rights.limits.replica_share) == (expected, 900)


RIGHTS_OF_KEYS = "0019"
"""The migration that brought them."""


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pixyproxy.db"
    server: SqlServer = request.getfixturevalue(request.param)
    return server.create(unique())


def old_schema(url: str, folder: Path) -> None:
    """Migrate to the schema before keys had rights."""
    scripts = folder / "scripts"
    shutil.copytree(MIGRATIONS, scripts)
    for script in (scripts / "versions").glob("*.py"):
        if script.name >= RIGHTS_OF_KEYS:
            script.unlink()
    migrate(url, scripts=scripts)


OLD = """
    INSERT INTO api_keys (name, prefix, sha256, created_at, revoked_at)
    VALUES (:name, 'pxp_1111', :sha256, '2026-01-01 00:00:00', :revoked_at)
"""


async def test_old_keys_keep_everything_and_everything_has_an_owner(url: str, tmp_path: Path) -> None:
    old_schema(url, tmp_path)
    engine = open_engine(url, use="writing")
    rows: list[dict[str, str | None]] = [
        {"name": "laptop", "sha256": ONE, "revoked_at": None},
        {"name": "gone", "sha256": TWO, "revoked_at": "2026-02-02 00:00:00"},
        {"name": CONFIGURED_NAME, "sha256": THREE, "revoked_at": None},
    ]
    with engine.begin() as connection:
        connection.execute(text(OLD), rows)
    migrate(url)
    with engine.begin() as connection:  # as after a migration that was killed before it was recorded
        connection.execute(text("UPDATE schema_version SET version_num = '0016'"))
    migrate(url)
    with engine.begin() as connection:
        connection.execute(text(OLD), [{"name": "old replica", "sha256": "4" * 64, "revoked_at": None}])
    engine.dispose()
    database, close = open_database(url)
    keys = SqlApiKeyRepository(database)
    listed = await keys.list()
    close()
    assert [key.name for key in listed] == ["laptop", "gone", f"{CONFIGURED_NAME}-by-hand", "old replica"]
    assert len({key.id for key in listed} - {CONFIGURED_ID}) == 4
    assert all(key.rights == KeyRights(scopes=EVERYTHING) for key in listed)
    assert [key.revoked_at is None for key in listed] == [True, False, True, True]


async def test_the_record_of_the_setting_has_the_id_0_and_counts_as_revoked_for_older_versions(url: str) -> None:
    migrate(url)
    engine = open_engine(url, use="writing")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, name, sha256, revoked_at FROM api_keys")).all()
    engine.dispose()
    ((number, name, sha256, revoked_at),) = rows
    assert (number, name, len(sha256) == 64) == (CONFIGURED_ID, CONFIGURED_NAME, False)
    assert revoked_at is not None
