"""What is around OpenAI's dialect: paths, keys and models as clients send them."""

import asyncio
import json
import logging
import socket
from typing import Any

import httpx2
import pytest

from pixyproxy.service.models import ModelCatalogue
from tests import planted
from tests.listening import listening
from tests.openai_stage import sdk
from tests.stage import BASE_URL, KEY, Stage
from tests.test_browsers import document

pytestmark = pytest.mark.anyio
URL = "/v1/images/generations"
BODY = {"prompt": planted.PROMPT, "response_format": "url"}
MODELS = ModelCatalogue("gpt-image-2", others=["lab/gpt-image-x"], aliases={"dall-e-3": "gpt-image-2"})


@pytest.mark.parametrize(
    "path",
    [
        URL,
        "//v1//images/generations",
        "/v1//images//generations",
        f"{URL}/",
        f"{URL}//",
        f"{URL}?api-version=2025-04-01",
    ],
)
async def test_paths_with_a_slash_too_many_are_the_same(path: str) -> None:
    async with Stage().client() as client:
        answer = await client.post(f"{BASE_URL}{path}", json=BODY)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["//image", "//healthz", "/v1x//models", "//v1x/models"])
async def test_other_paths_are_as_they_are(path: str) -> None:
    async with Stage().client() as client:
        answer = await client.get(f"{BASE_URL}{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


KEYS: dict[str, tuple[dict[str, str], int]] = {
    "api-key": ({"api-key": planted.API_KEY}, 200),
    "both": ({"api-key": planted.API_KEY, "Authorization": f"Bearer {planted.API_KEY}"}, 200),
    "a wrong Authorization": ({"api-key": planted.API_KEY, "Authorization": "Bearer sk-other"}, 401),
    "nothing": ({"api-key": ""}, 401),
    "empty headers of an organization": (
        {"Authorization": f"Bearer {planted.API_KEY}", "OpenAI-Organization": "", "OpenAI-Project": ""},
        200,
    ),
}


@pytest.mark.parametrize(("headers", "status"), KEYS.values(), ids=KEYS.keys())
async def test_the_key_comes_as_openai_s_or_as_azure_s_clients_send_it(headers: dict[str, str], status: int) -> None:
    async with Stage().client(key=False) as client:
        assert (await client.post(URL, json=BODY, headers=headers)).status_code == status
        assert (await client.get("/v1/models", headers=headers)).status_code == status


async def test_our_own_dialect_takes_no_api_key_header() -> None:
    async with Stage().client(key=False) as client:
        answer = await client.get("/image", headers={"api-key": planted.API_KEY})
    assert answer.status_code == 401


async def test_two_keys_are_none() -> None:
    async with Stage().client(key=False) as client:
        answer = await client.get("/v1/models", headers=[("api-key", planted.API_KEY), ("api-key", planted.API_KEY)])
    assert answer.status_code == 401


def test_the_sdk_lists_models_and_marks_aliases() -> None:
    with sdk(Stage(models=MODELS)) as client:
        listed = list(client.models.list())
        assert [(each.id, each.owned_by) for each in listed] == [
            ("gpt-image-2", "pixyproxy"),
            ("lab/gpt-image-x", "pixyproxy"),
            ("dall-e-3", "pixyproxy-alias"),
        ]
        assert client.models.retrieve("dall-e-3").to_dict()["pixyproxy"] == {"model": "gpt-image-2"}
        assert client.models.retrieve("lab/gpt-image-x").object == "model"


async def test_an_unknown_model_is_a_404() -> None:
    async with Stage(models=MODELS).client() as client:
        answer = await client.get("/v1/models/dall-e-2")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")


async def test_our_own_dialect_takes_any_model_until_the_list_is_set() -> None:
    for closed, status in ((False, 201), (True, 422)):
        stage = Stage(models=ModelCatalogue("gpt-image-2", aliases={"old": "gpt-image-2"}, closed=closed))
        async with stage.client() as client:
            other = await client.post("/image", json={"prompt": planted.PROMPT, "model": "gpt-image-9"})
            alias = await client.post("/image", json={"prompt": planted.PROMPT, "model": "old"})
        assert (other.status_code, alias.status_code, alias.json()["model"]) == (status, 201, "gpt-image-2")
        if closed:
            assert other.json()["type"] == "urn:pixyproxy:problem:model-not-found"


def test_openapi_describes_the_dialect() -> None:
    found = document()
    draws = found["paths"][URL]["post"]
    assert draws["tags"] == ["openai"]
    assert {"HTTPBearer": []} in draws["security"]
    assert {"APIKeyHeader": []} in draws["security"]
    properties = draws["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"prompt", "n", "response_format", "style", "safety_identifier"} <= set(properties)
    for status, response in draws["responses"].items():
        if status[0] in "45":
            assert "OpenAIError" in json.dumps(response["content"])
    assert "x-should-retry" in draws["responses"]["424"]["headers"]
    assert set(draws["responses"]) == {
        *("200", "400", "401", "403", "404", "408", "410", "413", "424", "429", "500", "502", "503")
    }


async def test_openapi_describes_every_answer_that_is_sent() -> None:
    found: dict[str, Any] = document()["components"]["schemas"]
    async with Stage().client() as client:
        for body in (BODY, {"prompt": planted.PROMPT}):
            answer = (await client.post(URL, json=body)).json()
            assert set(answer) <= set(found["ImagesAnswer"]["properties"])
            assert set(answer["data"][0]) <= set(found["AnsweredImage"]["properties"])
            assert set(answer["data"][0]["pixyproxy"]) == set(found["OwnFacts"]["properties"])
            assert set(answer["usage"]) == set(found["Usage"]["properties"])


def test_a_body_that_breaks_off_buys_nothing_and_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    head = f"POST {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {planted.API_KEY}\r\n"
    with listening(stage.app, patient=True) as url, caplog.at_level(logging.INFO):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            body = "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n" + '{"prompt": "a'
            connection.sendall((head + body).encode())
    assert stage.generations.generations == {}
    ours = [record for record in caplog.records if record.name.startswith("pixyproxy")]
    assert [record.message for record in ours if record.levelno > logging.INFO] == []
    assert "problem=client-left" in ours[-1].message


def test_a_chunked_body_of_a_client_that_waits_to_send_it_is_taken() -> None:
    with listening(Stage().app) as url:
        with httpx2.Client(headers=KEY) as client:
            pieces = (piece.encode() for piece in ('{"prompt": "a dot", ', '"response_format": "url"}'))
            headers = {"Content-Type": "application/json", "Expect": "100-continue"}
            answer = client.post(url + URL, content=pieces, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_request_that_waits_for_another_replica_is_sent_elsewhere_when_this_process_ends() -> None:
    stage = Stage()
    drawn = asyncio.Event()
    stage.generator.before = drawn.wait
    other, once = stage.replica(), {"Idempotency-Key": "once"}
    async with stage.client() as client, other.client() as second:
        first = asyncio.create_task(client.post(URL, json=BODY, headers=once))
        while not stage.generations.generations:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(second.post(URL, json=BODY, headers=once))
        await asyncio.sleep(0.05)
        other.readiness.ending.set()
        answer = await waiting
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "generation_running")
        assert (answer.headers["retry-after"], "x-should-retry" in answer.headers) == ("2", False)
        drawn.set()
        assert (await first).status_code == 200
