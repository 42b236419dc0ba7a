"""Who may do what: every route, asked by keys with each of the scopes. The table in docs/keys.md is what was seen."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pixyproxy.core.budgets import EVERYBODY, MOST, Budget, Period
from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.keys import EVERYTHING, OF_A_NEW_KEY, WIDER, KeyRights, Scope
from pixyproxy.web.app import create_api
from tests.examples import a_price
from tests.fakes import tiny_picture
from tests.mcp_client import call, request
from tests.stage import Stage
from tests.test_authentication import PUBLIC, every_route

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).parent.parent / "docs" / "keys.md"
BEGIN, END = "<!-- the table of test_scopes.py -->", "<!-- its end -->"
MCP = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
NOBODY = "no key"
COLUMNS: dict[str, frozenset[Scope] | None] = {
    **{scope.value: frozenset({scope}) for scope in Scope},
    "a new key": OF_A_NEW_KEY,
    "all": EVERYTHING,
    NOBODY: None,
}


@dataclass(frozen=True)
class Row:
    """A request. `what`: what is special about it; `sent`: what the client sends besides the key."""

    route: str
    what: str = ""
    path: str = ""
    sent: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]

    @property
    def template(self) -> str:
        return self.route.partition(" ")[2]


PROMPT = {"json": {"prompt": "a dot"}}
EDIT = {"data": {"prompt": "a dot"}, "files": {"image": ("dot.png", tiny_picture(), "image/png")}}
OWN, FOREIGN = ("one's own", "own"), ("somebody else's", "foreign")


def both(route: str, template: str, **sent: Any) -> tuple[Row, Row]:
    """The rows about a thing of one's own, and about somebody else's."""
    return tuple(Row(route, what, template.replace("WHOSE", whose), sent) for what, whose in (OWN, FOREIGN))  # type: ignore[return-value]


def tool(name: str, what: str = "", **arguments: Any) -> Row:
    """The row of a tool."""
    said = f"the tool `{name}`" + (f", {what}" if what else "")
    return Row("POST /mcp", said, "/mcp", {"json": call(name, **arguments), "headers": MCP})


ROWS = (
    Row("POST /image", sent=PROMPT),
    Row("POST /image/", sent=PROMPT),
    Row("POST /image", "edits somebody else's image", sent={"json": {"prompt": "a dot", "sources": ["{foreign}"]}}),
    Row("GET /image", "lists one's own", sent={"expects": "{own}"}),
    Row("GET /image", "lists everybody's", "/image", {"expects": "{foreign}"}),
    Row("GET /image", "`caller=` of somebody else", "/image?caller=somebody", {"expects": "{foreign}"}),
    Row("GET /image/"),
    *both("DELETE /image/{guid}", "/image/{WHOSE}"),
    Row("GET /generation", "lists one's own", sent={"expects": "{own_generation}"}),
    Row("GET /generation", "lists everybody's", "/generation", {"expects": "{foreign}"}),
    Row("GET /generation", "`caller=` of somebody else", "/generation?caller=somebody", {"expects": "{foreign}"}),
    Row("GET /generation/"),
    *both("GET /generation/{guid}", "/generation/{WHOSE_generation}"),
    *both("GET /image/{guid}", "/image/{WHOSE}"),
    Row("GET /image/{guid}", "with the generation of one's own", "/image/{own}", {"expects": "{own_generation}"}),
    Row("GET /image/{guid}", "with that of somebody else's", "/image/{foreign}", {"expects": "{foreign_generation}"}),
    *(
        Row(f"{method} {template}", "somebody else's", path)
        for template, path in (
            ("/image/{guid}/content", "/image/{foreign}/content"),
            ("/image/{guid}.{extension}", "/image/{foreign}.png"),
            ("/image/{guid}/thumbnail", "/image/{foreign}/thumbnail?size=400"),
        )
        for method in ("GET", "HEAD")
    ),
    Row("POST /v1/images/generations", sent=PROMPT),
    Row("POST /v1/images/edits", sent=EDIT),
    Row("GET /v1/models"),
    Row("GET /v1/models/{model:path}", path="/v1/models/gpt-image-2"),
    Row("POST /mcp", "`tools/list`", "/mcp", {"json": request("tools/list"), "headers": MCP}),
    Row("POST /mcp/", "`tools/list`", "/mcp/", {"json": request("tools/list"), "headers": MCP}),
    tool("generate_image", prompt="a dot"),
    tool("edit_image", "of somebody else's", prompt="a dot", sources=["{foreign}"]),
    tool("list_images"),
    tool("get_image", "somebody else's", guid="{foreign}"),
    tool("get_generation", "one's own", guid="{own_generation}"),
    tool("get_generation", "somebody else's", guid="{foreign_generation}"),
    Row("GET /key"),
    Row("POST /key", sent={"json": {"name": "{fresh}"}}),
    Row("GET /key/self"),
    Row("GET /key/{name}", path="/key/somebody"),
    Row("PATCH /key/{name}", path="/key/somebody", sent={"json": {"note": "changed"}}),
    Row("POST /key/{name}/rotate", path="/key/somebody/rotate"),
    Row("DELETE /key/{name}", path="/key/{fresh_key}"),
    Row("GET /budget"),
    Row("PUT /budget/{period}", path="/budget/month", sent={"json": {"limit": "500"}}),
    Row("DELETE /budget/{period}", path="/budget/total"),
    Row("GET /price"),
    Row("GET /usage", "one's own", "/usage?by=key", {"expects": "{owner}"}),
    Row("GET /usage", "everybody's", "/usage?by=key", {"expects": "somebody"}),
    Row("GET /usage", "`caller=` of somebody else", "/usage?by=key&caller=somebody", {"expects": "somebody"}),
    Row("GET /session"),
    Row("DELETE /session"),
    Row("POST /session", "with the key in the body", sent={"json": {"key": "{key}"}}),
    Row("GET /", path="/"),
    Row("GET /static/{version}/{name}", path="/static/x/nothing.js"),
    *(
        Row(f"{method} {path}", path=path)
        for path in ("/healthz", "/readyz", "/readyz/process")
        for method in ("GET", "HEAD")
    ),
    *(Row(f"{method} /openapi.json", path="/openapi.json") for method in ("GET", "HEAD")),
    *(Row(f"GET {path}", path=path) for method, path in sorted(PUBLIC) if path.startswith(("/docs", "/favicon"))),
)


class World:
    """A service with things of a key that may do certain things only, and of somebody else."""

    def __init__(self, stage: Stage, *, scopes: frozenset[Scope] | None) -> None:
        self.stage = stage
        self.scopes = scopes
        self.key = "pxp_none"
        self.counter = 0

    async def prepare(self) -> None:
        """Make the keys, and a price, so that a budget refuses nothing. Somebody else may do everything."""
        price = a_price(per_image={"*": {"*": 40_000_000}}, model="*")
        await self.stage.prices.add([price], recorded_at=datetime.now(UTC))
        await self.stage.keys.create("somebody", KeyRights(scopes=EVERYTHING))
        self.somebody = (await self.stage.key_records.find(name="somebody")).caller()
        if self.scopes is None:
            self.owner = self.somebody
            return
        self.key = await self.stage.keys.create("own", KeyRights(scopes=self.scopes))
        self.owner = (await self.stage.keys.authenticate(self.key)).model_copy(update={"scopes": EVERYTHING})

    async def names(self) -> dict[str, str]:
        """New things, by the names that the rows have for them."""
        self.counter += 1
        words = {
            "fresh": f"fresh-{self.counter}",
            "fresh_key": f"made-{self.counter}",
            "key": self.key,
            "owner": self.owner.name,
        }
        await self.stage.keys.create(words["fresh_key"])
        await self.stage.budgets.set(Budget(owner=EVERYBODY, period=Period.TOTAL, limit=MOST))
        for whose, caller in (("own", self.owner), ("foreign", self.somebody)):
            drawn = (await self.stage.private.create(GenerationRequest(prompt="a dot"), caller=caller)).generation
            words |= {whose: str(drawn.images[0].guid), f"{whose}_generation": str(drawn.guid)}
        return words

    async def ask(self, row: Row) -> str:
        """The status of the answer; of a tool that failed that of its problem."""
        words = await self.names()
        sent = filled(row.sent, words)
        expected = sent.pop("expects", None)
        headers = {} if self.scopes is None else {"Authorization": f"Bearer {self.key}"}
        sent["headers"] = headers | sent.get("headers", {})
        async with self.stage.client(key=False) as client:
            answer = await client.request(row.method, filled(row.path or row.template, words), **sent)
        if answer.is_success and expected is not None and expected not in answer.text:
            return "without"
        failed = failure_of(answer) if row.template == "/mcp" and answer.is_success else None
        return str(failed or answer.status_code)


def failure_of(answer: httpx2.Response) -> int | None:
    """The status of the problem with which a tool failed."""
    streamed = answer.headers["content-type"].startswith("text/event-stream")
    result = json.loads(answer.text.rpartition("\ndata: ")[2] if streamed else answer.text)["result"]
    return result["_meta"]["pixyproxy/problem"]["status"] if result.get("isError") else None


def filled(value: Any, words: dict[str, str]) -> Any:
    """The value with the words in it."""
    if isinstance(value, dict):
        return {name: filled(each, words) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, words) for each in value]
    return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module's fixture."""
    return "asyncio"


@pytest.fixture(scope="module")
async def seen(anyio_backend: str) -> dict[tuple[int, str], str]:
    """What every column's key gets for every row, by its number."""
    found: dict[tuple[int, str], str] = {}
    for column, scopes in COLUMNS.items():
        world = World(Stage(), scopes=scopes)
        await world.prepare()
        for number, row in enumerate(ROWS):
            found[number, column] = await world.ask(row)
    return found


def test_every_route_has_a_row() -> None:
    assert {f"{method} {path}" for method, path in every_route()} == {row.route for row in ROWS}


Seen = dict[tuple[int, str], str]


def cells(seen: Seen, number: int) -> dict[str, str]:
    """What each column got for a row."""
    return {column: seen[number, column] for column in COLUMNS}


async def test_a_route_refuses_whoever_lacks_the_scope_that_its_document_names_and_nobody_else(seen: Seen) -> None:
    document = create_api(Stage().services, version="test").openapi()["paths"]
    for number, row in enumerate(ROWS):
        operation = document.get(row.template.replace(":path}", "}").rstrip("/"), {}).get(row.method.lower())
        if operation is None or row.template == "/mcp":
            continue
        scope = operation.get("x-scope")
        for column, scopes in COLUMNS.items():
            if scopes is None:
                continue
            allowed = scope is None or Scope(scope) in scopes or WIDER.get(Scope(scope)) in scopes
            assert (seen[number, column] != "403") is allowed, (row, column)


async def test_without_a_key_only_the_public_routes_answer(seen: Seen) -> None:
    for number, row in enumerate(ROWS):
        public = (row.method, row.template) in PUBLIC and row.template != "/session"
        assert (seen[number, NOBODY] == "401") is not public, row


async def test_whoever_may_do_everything_is_refused_nothing(seen: Seen) -> None:
    for number, row in enumerate(ROWS):
        expected = "404" if row.template.startswith("/static") else "2"
        assert seen[number, "all"].startswith(expected), row


async def test_somebody_elses_private_things_are_not_there_for_those_who_may_not_read_or_delete_all(seen: Seen) -> None:
    for number, row in enumerate(ROWS):
        got = cells(seen, number)
        if row.route in ("DELETE /image/{guid}", "GET /generation/{guid}"):
            foreign = "WHOSE" not in row.path and "foreign" in row.path
            narrow = got["delete" if row.method == "DELETE" else "read"]
            assert (narrow == "404") is foreign, row
            assert got["a new key"] == narrow
        if row.sent.get("expects", "").startswith("{foreign"):
            assert got["read-all"] == got["all"] == "200", row
            assert {got["read"], got["a new key"]} == {"without"}, row


async def test_everybodys_usage_is_for_those_who_may_read_all_or_administer(seen: Seen) -> None:
    for number, row in enumerate(ROWS):
        if row.route == "GET /usage":
            allowed = set(COLUMNS) - {NOBODY} if row.what == "one's own" else {"read-all", "admin", "all"}
            assert {column for column, got in cells(seen, number).items() if got == "200"} == allowed, row


async def test_public_routes_are_the_same_for_everybody(seen: Seen) -> None:
    for number, row in enumerate(ROWS):
        if (row.method, row.template) in PUBLIC and row.template != "/session" and "expects" not in row.sent:
            assert len(set(cells(seen, number).values())) == 1, row


async def test_the_table_is_what_was_seen(seen: Seen) -> None:
    head = f"| request | {' | '.join(name if ' ' in name else f'`{name}`' for name in COLUMNS)} |"
    lines = [head, "|---|" + "---|" * len(COLUMNS)]
    for number, row in enumerate(ROWS):
        said = f"`{row.route}`" + (f", {row.what}" if row.what else "")
        lines.append(f"| {said} | {' | '.join(cells(seen, number).values())} |")
    text = DOCUMENT.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    written = f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{tail}"
    DOCUMENT.write_text(written)
    assert written == text, "docs/keys.md was not what was seen, and is written anew: look at it, and commit it"
