"""One contract for every implementation of `SessionRepository`: the fake, SQLite, a real MySQL and a real MariaDB."""

import asyncio
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pixyproxy.core.exceptions import DatabaseUnavailableError, NotFoundError
from pixyproxy.core.protocols import ApiKeyRepository, SessionRepository
from pixyproxy.core.sessions import Pass, Session
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.cached_keys import KEY_TTL
from pixyproxy.data.cached_sessions import UNSEEN_CODES, UNSEEN_SESSIONS, CachedSessionRepository
from pixyproxy.data.init import migrate, open_database
from pixyproxy.data.sessions import SqlSessionRepository
from tests.fakes import FakeApiKeyRepository, FakeSessionRepository
from tests.servers import SqlServer

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)
SEAL = "0123456789abcdef" * 4
MINUTE = timedelta(minutes=1)


@dataclass
class Records:
    """One implementation, twice: as two processes have it, over the same records."""

    here: SessionRepository
    there: SessionRepository
    keys: ApiKeyRepository

    async def a_key(self, name: str = "laptop") -> int:
        """The id of a new key."""
        return (await self.keys.add(name=name, prefix="pxp_1234", sha256=secrets.token_hex(32))).id

    async def a_code(self, *, api_key_id: int, expires_at: datetime = NOW + MINUTE, seal: str | None = None) -> str:
        """The digest of a new code."""
        sha256 = secrets.token_hex(32)
        await self.here.add_code(Pass(api_key_id=api_key_id, expires_at=expires_at, seal=seal), sha256=sha256)
        return sha256

    async def a_session(self, *, api_key_id: int, expires_at: datetime = NOW + MINUTE, seal: str | None = None) -> str:
        """The digest of a new session."""
        sha256 = secrets.token_hex(32)
        session = Session(api_key_id=api_key_id, created_at=NOW, seen_at=NOW, expires_at=expires_at, seal=seal)
        await self.here.add(session, sha256=sha256)
        return sha256


@pytest.fixture(params=["fake", "cached", "sqlite", "mysql", "mariadb"])
def records(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique: Callable[[], str],
    migrated: dict[str, str],
    migrated_file: Path,
) -> Iterator[Records]:
    """Empty records."""
    if request.param in ("fake", "cached"):
        fake = FakeSessionRepository(FakeApiKeyRepository())
        processes = [CachedSessionRepository(fake, ttl=0) if request.param == "cached" else fake for _ in range(2)]
        yield Records(processes[0], processes[1], fake.keys)
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/pixyproxy.db"
        shutil.copyfile(migrated_file, tmp_path / "pixyproxy.db")
    else:
        server: SqlServer = request.getfixturevalue(request.param)
        if request.param not in migrated:
            migrated[request.param] = server.create(unique())
            migrate(migrated[request.param])
        url = migrated[request.param]
        for table in ("login_codes", "sessions", "api_keys WHERE id <> 0"):
            server.query(f"DELETE FROM {table}", database=url.rpartition("/")[2])
    opened = [open_database(url) for _ in range(2)]
    here, there = (SqlSessionRepository(database) for database, _ in opened)
    yield Records(here, there, SqlApiKeyRepository(opened[0][0]))
    for _, close in opened:
        close()


async def test_a_session_follows_the_secret_with_which_it_began(records: Records) -> None:
    made = await records.keys.add(name="laptop", prefix="pxp_1234", sha256="1" * 64)
    by_key, by_code = (
        Session(api_key_id=made.id, created_at=NOW, seen_at=NOW, expires_at=NOW + MINUTE, key_sha256=sha256)
        for sha256 in ("1" * 64, None)
    )
    await records.here.add(by_key, sha256="a" * 64)
    await records.here.add(by_code, sha256="b" * 64)
    assert await records.there.get(sha256="a" * 64) == by_key.model_copy(update={"key": made})
    await records.keys.rotate(name="laptop", prefix="pxp_5678", sha256="2" * 64, until=NOW + MINUTE)
    ends = [(await records.there.get(sha256=each * 64)).key for each in "ab"]
    assert [key and (key.id, key.prefix, key.secret_expires_at) for key in ends] == [
        (made.id, "pxp_5678", NOW + MINUTE),
        (made.id, "pxp_5678", None),
    ]


async def test_a_code_is_spent_once_and_says_whose_it_is(records: Records) -> None:
    key = await records.a_key()
    sha256 = await records.a_code(api_key_id=key)
    spent = await records.there.spend_code(sha256=sha256, now=NOW)
    assert (spent.api_key_id, spent.expires_at, spent.seal) == (key, NOW + MINUTE, None)
    assert spent.key is not None
    assert (spent.key.name, spent.key.revoked_at) == ("laptop", None)
    for repository in (records.here, records.there):
        with pytest.raises(NotFoundError):
            await repository.spend_code(sha256=sha256, now=NOW)


async def test_of_many_that_spend_a_code_at_once_in_two_processes_one_succeeds(records: Records) -> None:
    sha256 = await records.a_code(api_key_id=await records.a_key())
    tries = [each.spend_code(sha256=sha256, now=NOW) for each in (records.here, records.there) for _ in range(8)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotFoundError"] * 15 + ["Pass"]


@pytest.mark.parametrize(("late", "spent"), [(-timedelta(microseconds=1), True), (timedelta(0), False)])
async def test_a_code_is_good_until_it_expires(records: Records, *, late: timedelta, spent: bool) -> None:
    sha256 = await records.a_code(api_key_id=0, seal=SEAL)
    if spent:
        assert (await records.here.spend_code(sha256=sha256, now=NOW + MINUTE + late)).seal == SEAL
    else:
        with pytest.raises(NotFoundError):
            await records.here.spend_code(sha256=sha256, now=NOW + MINUTE + late)


async def test_an_unknown_code_is_not_found(records: Records) -> None:
    await records.a_code(api_key_id=0)
    with pytest.raises(NotFoundError):
        await records.here.spend_code(sha256=secrets.token_hex(32), now=NOW)


async def test_a_session_comes_back_with_its_key_as_it_is_now(records: Records) -> None:
    key = await records.a_key()
    sha256 = await records.a_session(api_key_id=key)
    session = await records.there.get(sha256=sha256)
    assert (session.api_key_id, session.created_at, session.seen_at) == (key, NOW, NOW)
    assert session.expires_at == NOW + MINUTE
    assert session.key is not None
    assert (session.key.id, session.key.name, session.key.revoked_at) == (key, "laptop", None)
    await records.keys.revoke(name="laptop")
    revoked = (await records.there.get(sha256=sha256)).key
    assert revoked is not None
    assert revoked.revoked_at is not None


async def test_a_session_of_the_configured_key_has_a_seal_and_no_record_of_a_key(records: Records) -> None:
    session = await records.there.get(sha256=await records.a_session(api_key_id=0, seal=SEAL))
    assert (session.api_key_id, session.seal, session.key) == (0, SEAL, None)


async def test_a_session_that_was_ended_is_found_nowhere(records: Records) -> None:
    ended, other = [await records.a_session(api_key_id=0) for _ in range(2)]
    await records.here.delete(sha256=ended)
    await records.here.delete(sha256=ended)
    for repository in (records.here, records.there):
        with pytest.raises(NotFoundError):
            await repository.get(sha256=ended)
        assert await repository.get(sha256=other)


async def test_a_session_is_only_renewed_forwards(records: Records) -> None:
    sha256 = await records.a_session(api_key_id=0)
    for seen, expected in ((2, 2), (1, 2), (3, 3)):
        await records.here.renew(sha256=sha256, seen_at=NOW + seen * MINUTE, expires_at=NOW + 10 * seen * MINUTE)
        session = await records.there.get(sha256=sha256)
        assert session.seen_at == NOW + expected * MINUTE
        assert session.expires_at == NOW + 10 * expected * MINUTE
    await records.here.renew(sha256=secrets.token_hex(32), seen_at=NOW, expires_at=NOW)


async def test_what_expired_is_removed_oldest_first_and_nothing_else(records: Records) -> None:
    expired = [NOW - number * MINUTE for number in (3, 1, 2)]
    codes = [await records.a_code(api_key_id=0, expires_at=moment) for moment in expired]
    sessions = [await records.a_session(api_key_id=0, expires_at=moment) for moment in expired]
    code, session = await records.a_code(api_key_id=0), await records.a_session(api_key_id=0, expires_at=NOW)
    assert await records.here.delete_expired(before=NOW, limit=2) == 4
    for sha256, there in zip(sessions, (False, True, False), strict=True):
        if there:
            assert await records.there.get(sha256=sha256)
        else:
            with pytest.raises(NotFoundError):
                await records.there.get(sha256=sha256)
    early = NOW - 10 * MINUTE
    assert (await records.there.spend_code(sha256=codes[1], now=early)).expires_at == NOW - MINUTE
    with pytest.raises(NotFoundError):
        await records.there.spend_code(sha256=codes[0], now=early)
    assert [await records.here.delete_expired(before=NOW, limit=2) for _ in range(2)] == [2, 0]
    assert await records.there.get(sha256=session)
    assert await records.there.spend_code(sha256=code, now=NOW)


# --- In memory


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class SlowSessions(FakeSessionRepository):
    """Answers lookups that find nothing when the test lets it."""

    def __init__(self) -> None:
        super().__init__(FakeApiKeyRepository())
        self.answer = asyncio.Event()

    async def get(self, *, sha256: str) -> Session:
        if sha256 not in self.sessions:
            self.lookups += 1
            await self.answer.wait()
            raise NotFoundError("There is none.")
        return await super().get(sha256=sha256)

    async def spend_code(self, *, sha256: str, now: datetime) -> Pass:
        if sha256 not in self.codes:
            self.lookups += 1
            await self.answer.wait()
        return await super().spend_code(sha256=sha256, now=now)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_flood_of_invented_tokens_and_codes_holds_few_lookups_and_open_sessions_do_not_wait_for_it() -> None:
    records, clock = SlowSessions(), Clock()
    cached = CachedSessionRepository(records, clock=clock)
    known = await Records(cached, cached, records.keys).a_session(api_key_id=0)
    await cached.get(sha256=known)
    before = records.lookups
    flood = [
        *(asyncio.create_task(cached.get(sha256=secrets.token_hex(32))) for _ in range(200)),
        *(asyncio.create_task(cached.spend_code(sha256=secrets.token_hex(32), now=NOW)) for _ in range(200)),
    ]
    await settle()
    assert records.lookups - before == UNSEEN_SESSIONS + UNSEEN_CODES
    for _ in range(3):
        assert (await cached.get(sha256=known)).expires_at == NOW + MINUTE
        clock.now += 3600
    records.answer.set()
    assert {type(each) for each in await asyncio.gather(*flood, return_exceptions=True)} == {NotFoundError}


async def test_a_code_that_waits_too_long_behind_invented_ones_is_refused_and_not_spent() -> None:
    records = SlowSessions()
    cached = CachedSessionRepository(records, wait=0.01)
    sha256 = await Records(cached, cached, records.keys).a_code(api_key_id=0)
    stranger = asyncio.create_task(cached.spend_code(sha256=secrets.token_hex(32), now=NOW))
    await settle()
    with pytest.raises(DatabaseUnavailableError, match="login codes"):
        await cached.spend_code(sha256=sha256, now=NOW)
    records.answer.set()
    with pytest.raises(NotFoundError):
        await stranger
    assert (await cached.spend_code(sha256=sha256, now=NOW)).api_key_id == 0


async def test_a_wrong_token_is_looked_up_once_a_second_and_an_open_one_too() -> None:
    fake, clock = FakeSessionRepository(FakeApiKeyRepository()), Clock()
    cached = CachedSessionRepository(fake, clock=clock)
    known = await Records(cached, cached, fake.keys).a_session(api_key_id=0)
    wrong = secrets.token_hex(32)
    for seconds, lookups in ((0, 2), (0.9, 2), (0.1, 4), (0.9, 4)):
        clock.now += seconds
        for _ in range(3):
            await cached.get(sha256=known)
            with pytest.raises(NotFoundError):
                await cached.get(sha256=wrong)
        assert fake.lookups == lookups


async def test_a_session_ends_at_once_where_it_was_ended_and_elsewhere_within_a_second() -> None:
    fake, clock = FakeSessionRepository(FakeApiKeyRepository()), Clock()
    here, there = (CachedSessionRepository(fake, clock=clock) for _ in range(2))
    sha256 = await Records(here, there, fake.keys).a_session(api_key_id=0)
    for cached in (here, there):
        assert await cached.get(sha256=sha256)
    await here.delete(sha256=sha256)
    with pytest.raises(NotFoundError):
        await here.get(sha256=sha256)
    assert await there.get(sha256=sha256), "it still believes what it has read"
    clock.now += KEY_TTL
    with pytest.raises(NotFoundError):
        await there.get(sha256=sha256)
    assert KEY_TTL <= 1


async def test_a_renewal_is_seen_at_once_where_it_was_made() -> None:
    fake = FakeSessionRepository(FakeApiKeyRepository())
    cached = CachedSessionRepository(fake, clock=Clock())
    sha256 = await Records(cached, cached, fake.keys).a_session(api_key_id=0)
    await cached.get(sha256=sha256)
    await cached.renew(sha256=sha256, seen_at=NOW + MINUTE, expires_at=NOW + 2 * MINUTE)
    assert (await cached.get(sha256=sha256)).expires_at == NOW + 2 * MINUTE
