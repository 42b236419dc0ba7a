"""Authentication: no private route answers without a key, whatever else is wrong with the request."""

import re

import pytest
from fastapi.routing import iter_route_contexts

from pixyproxy.core.exceptions import AuthenticationError, ConfigurationError, ConflictError, DatabaseUnavailableError
from pixyproxy.core.keys import ApiKey
from pixyproxy.service.keys import KeyService, checksum, digest, is_well_formed, new_key
from pixyproxy.web.app import create_api
from tests import planted
from tests.fakes import FakeApiKeyRepository
from tests.stage import Stage

pytestmark = pytest.mark.anyio

PUBLIC = {
    ("GET", "/"),
    ("GET", "/static/{version}/{name}"),
    ("GET", "/image/{guid}"),
    ("GET", "/image/{guid}/content"),
    ("HEAD", "/image/{guid}/content"),
    ("GET", "/image/{guid}.{extension}"),
    ("HEAD", "/image/{guid}.{extension}"),
    ("POST", "/session"),  # it logs in: the key, or a login code, is in its body
    ("GET", "/image/{guid}/thumbnail"),
    ("HEAD", "/image/{guid}/thumbnail"),
    ("GET", "/healthz"),
    ("HEAD", "/healthz"),
    ("GET", "/readyz"),
    ("HEAD", "/readyz"),
    ("GET", "/readyz/process"),
    ("HEAD", "/readyz/process"),
    *((method, path) for method in ("GET", "HEAD") for path in ("/openapi.json",)),
    *(("GET", f"/docs{path}") for path in ("", "/swagger-ui-bundle.js", "/swagger-ui.css", "/start.js")),
    ("GET", "/favicon.ico"),
    ("GET", "/favicon.svg"),
}
"""Every route that answers without a key. Whatever is not here must answer 401."""


def every_route() -> list[tuple[str, str]]:
    """Each method and path of the application."""
    api = create_api(Stage().services, version="test")
    return sorted(
        (method, str(context.path)) for context in iter_route_contexts(api.routes) for method in context.methods or ()
    )


def test_the_walk_sees_every_route() -> None:
    routes = set(every_route())
    assert {("POST", "/image"), ("POST", "/image/"), ("GET", "/image"), ("GET", "/image/")} <= routes
    assert routes >= PUBLIC


BODIES = {
    "no body": (b"", {}),
    "broken JSON": (b"{", {"Content-Type": "application/json"}),
    "a broken rule": (b'{"prompt": ""}', {"Content-Type": "application/json"}),
    "no JSON": (b"x", {"Content-Type": "text/plain"}),
    "too large": (b"x" * (1024 * 1024 + 1), {"Content-Type": "application/json"}),
}


@pytest.mark.parametrize(("content", "headers"), BODIES.values(), ids=BODIES.keys())
async def test_every_route_that_is_not_public_answers_401_whatever_is_sent(
    content: bytes, headers: dict[str, str]
) -> None:
    stage = Stage()
    private = [route for route in every_route() if route not in PUBLIC]
    assert private
    async with stage.client(key=False) as client:
        answers = {
            (method, path): await client.request(method, path.replace("{guid}", "x"), content=content, headers=headers)
            for method, path in private
        }
    assert {route for route, answer in answers.items() if answer.status_code != 401} == set()


async def test_401_is_the_same_for_every_cause() -> None:
    stage = Stage()
    revoked = await stage.keys.create("revoked")
    await stage.keys.revoke("revoked")
    valid = f"Bearer {planted.API_KEY}"
    causes: dict[str, list[tuple[bytes, bytes]]] = {
        "no header": [],
        "wrong key": [(b"authorization", b"Bearer wrong")],
        "unknown key": [(b"authorization", f"Bearer {new_key()}".encode())],
        "revoked key": [(b"authorization", f"Bearer {revoked}".encode())],
        "no key": [(b"authorization", b"Bearer")],
        "empty": [(b"authorization", b"")],
        "not ASCII": [(b"authorization", b"Bearer \xff\xfe\xe9")],
        "NUL": [(b"authorization", b"Bearer a\x00b")],
        "very long": [(b"authorization", b"Bearer " + b"x" * 20_000)],
        "Basic": [(b"authorization", f"Basic {planted.API_KEY}".encode())],
        "no scheme": [(b"authorization", planted.API_KEY.encode())],
        "two headers": [(b"authorization", valid.encode())] * 2,
        "two keys": [(b"authorization", f"{valid}, {valid}".encode())],
        "a prefix": [(b"authorization", valid[:-1].encode())],
        "longer": [(b"authorization", f"{valid}x".encode())],
        "another case": [(b"authorization", valid.upper().encode())],
    }
    seen = set()
    async with stage.client(key=False) as client:
        for headers in causes.values():
            response = await client.get("/image", headers=headers)
            problem = response.json()
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            seen.add((problem["type"], problem["title"], problem["detail"], response.headers["content-type"]))
        assert (await client.get(f"/image?key={planted.API_KEY}&api_key={planted.API_KEY}")).status_code == 401
    assert len(seen) == 1


@pytest.mark.parametrize("header", ["Bearer {key}", "bearer {key}", "BEARER {key}", "Bearer   {key} "])
async def test_a_valid_key_gets_in(header: str) -> None:
    stage = Stage()
    made = await stage.keys.create("laptop")
    async with stage.client(key=False) as client:
        for key in (made, planted.API_KEY):
            assert (await client.get("/image", headers={"Authorization": header.format(key=key)})).status_code == 200


async def test_a_revoked_key_is_out_at_its_next_request() -> None:
    stage = Stage()
    headers = {"Authorization": f"Bearer {await stage.keys.create('laptop')}"}
    async with stage.client(key=False) as client:
        assert (await client.get("/image", headers=headers)).status_code == 200
        await stage.keys.revoke("laptop")
        assert (await client.get("/image", headers=headers)).status_code == 401


async def test_an_unavailable_database_is_503_and_not_401() -> None:
    class Away(FakeApiKeyRepository):
        async def get(self, *, sha256: str) -> ApiKey:
            raise DatabaseUnavailableError("unavailable")

    stage = Stage(key_records=Away())
    async with stage.client(key=False) as client:
        response = await client.get("/image", headers={"Authorization": f"Bearer {new_key()}"})
        assert response.status_code == 503
        malformed = await client.get("/image", headers={"Authorization": "Bearer nonsense"})
        assert malformed.status_code == 401, "a malformed key is known without the database"


def test_a_key_has_its_shape_and_its_checksum() -> None:
    keys = {new_key() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        assert re.fullmatch(r"pxp_[0-9A-Za-z]{49}", key)
        assert is_well_formed(key)
        mistyped = key[:10] + ("0" if key[10] != "0" else "1") + key[11:]
        assert not is_well_formed(mistyped)
    assert checksum("0" * 43) == checksum("0" * 43) != checksum("0" * 42 + "1")


async def test_only_the_digest_of_a_key_is_kept() -> None:
    records = FakeApiKeyRepository()
    service = KeyService(records)
    key = await service.create("laptop")
    assert set(records.keys) == {digest(key)}
    assert key not in repr(records.keys)
    (record,) = await service.list()
    assert record.prefix == key[:8]
    assert (await service.authenticate(key)).name == "laptop"


async def test_without_a_configured_key_an_empty_one_does_not_fit() -> None:
    for key in ("", "None", "null"):
        with pytest.raises(AuthenticationError):
            await KeyService(FakeApiKeyRepository()).authenticate(key)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a\n", "ü", "a;b"])
async def test_a_keys_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(ConfigurationError):
        await KeyService(FakeApiKeyRepository()).create(name)


async def test_a_keys_name_is_used_once() -> None:
    service = KeyService(FakeApiKeyRepository())
    await service.create("laptop")
    with pytest.raises(ConflictError):
        await service.create("laptop")
