"""The openai package of npm in three versions, and the AI SDK, as clients of OpenAI's dialect."""

import json
import os
import re
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from pixyproxy.core.exceptions import UpstreamDeadlineError
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.servers import BIN, missing
from tests.stage import Stage

ROOT = Path(__file__).parent.parent
CLIENTS = BIN.parent / "clients"
PICTURE = b64encode(tiny_picture("two foxes, woodcut")).decode()


def node(code: str, url: str, **environment: str) -> Any:
    """What the code prints as JSON, run with the clients at hand."""
    if not (CLIENTS / "done").exists():
        missing("the clients for Node", f"deploy/install-packages tests/clients/package.json {CLIENTS}")
    known = {**os.environ, "BASE": f"{url}/v1", "KEY": planted.API_KEY, **environment}
    command = ["node", "--input-type=module", "--eval", code]
    ran = subprocess.run(command, cwd=CLIENTS, env=known, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("client", ["openai", "openai-6", "openai-4"])
def test_the_openai_package_of_npm_draws_streams_and_understands_errors(client: str) -> None:
    stage = Stage()
    with listening(stage.app) as url:
        seen = node((ROOT / "tests/clients/openai.mjs").read_text(), url, CLIENT=client)
    for answer in (seen["bare"], seen["nulls"]):
        assert [each["b64_json"] for each in answer["data"]] == [PICTURE]
        assert answer["usage"]["total_tokens"] == 7
    assert seen["all"]["output_format"] == "webp"
    assert len({each["url"] for each in seen["three"]["data"]}) == 3
    for events in seen["events"]:
        assert events[-1] == ["image_generation.completed", True, 7]
        assert all(event == ["image_generation.partial_image", True, None] for event in events[:-1])
    invalid = "invalid_request_error"
    assert seen["errors"] == [
        ["BadRequestError", 400, "invalid_value", "n", invalid, True],
        ["NotFoundError", 404, "model_not_found", "model", invalid, True],
        ["BadRequestError", 400, "unknown_parameter", "colour", invalid, True],
        ["AuthenticationError", 401, "invalid_api_key", None, invalid, True],
    ]
    assert seen["models"] == ["gpt-image-2"]
    assert len(stage.generator.requests) == 4 + len(seen["events"]) == (4 if client == "openai-4" else 6)


@pytest.mark.parametrize("client", ["openai", "openai-6", "openai-4"])
def test_the_openai_package_of_npm_edits(client: str, tmp_path: Path) -> None:
    stage, path = Stage(), tmp_path / "a picture.png"
    picture = tiny_picture("a fox") + bytes(300_000)
    path.write_bytes(picture)
    with listening(stage.app) as url:
        code = (ROOT / "tests/clients/edits.mjs").read_text()
        seen = node(code, url, CLIENT=client, PICTURE=str(path))
    streams = [] if client == "openai-4" else [(picture,)]
    stored = tiny_picture("two foxes, woodcut")
    assert stage.generator.inputs == [
        *((), (picture,), (picture,), (picture,) * 2, (picture,) * 3, (stored,)),
        *streams,
    ]
    assert [len(seen[name]["data"]) for name in ("file_first", "list_of_one", "list_of_two", "masked", "stored")] == [
        *(1, 1, 2, 1, 1)
    ]
    assert [each.role for each in stage.generator.requests[4].inputs] == ["image", "mask", "markup"]
    assert seen["events"] == ["image_edit.completed"] * len(streams)
    assert seen["errors"] == [
        ["BadRequestError", 400, "unsupported_file_mimetype", "image"],
        ["BadRequestError", 400, "invalid_value", "image"],
        ["BadRequestError", 400, "invalid_value", "n"],
    ]
    assert stage.spool.open_files == []


def test_the_ai_sdk_gets_its_pictures_from_both_providers() -> None:
    stage = Stage()
    with listening(stage.app) as url:
        seen = node((ROOT / "tests/clients/ai.mjs").read_text(), url)
    assert [len(images) for images in seen] == [1, 2, 1, 2]
    stored = set(stage.storage.objects.values())
    for images in seen:
        assert all(media_type == "image/png" and b64decode(data) in stored for media_type, data in images)


def test_the_ai_sdk_edits_with_both_providers() -> None:
    stage = Stage()
    code = """
        import { createOpenAI } from "@ai-sdk/openai";
        import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
        import { generateImage } from "ai";
        const settings = { baseURL: process.env.BASE, apiKey: process.env.KEY };
        const compatible = createOpenAICompatible({ name: "pixyproxy", ...settings });
        const picture = Buffer.from(process.env.PICTURE, "base64");
        const prompt = { text: "two foxes, woodcut", images: [picture, picture], mask: picture };
        const seen = [];
        for (const model of [createOpenAI(settings).image("gpt-image-2"), compatible.imageModel("gpt-image-2")]) {
            const { images } = await generateImage({ model, prompt, n: 1 });
            seen.push(images.map((image) => image.base64));
        }
        console.log(JSON.stringify(seen));
    """
    with listening(stage.app) as url:
        assert node(code, url, PICTURE=PICTURE) == [[PICTURE], [PICTURE]]
    assert stage.generator.inputs == [(b64decode(PICTURE),) * 3] * 2
    assert [each.role for each in stage.generator.requests[1].inputs] == ["image", "image", "mask"]


def test_the_retries_of_the_ai_sdk_buy_nothing_that_may_have_been_billed() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamDeadlineError("late")
    code = """
        import { createOpenAI } from "@ai-sdk/openai";
        import { generateImage } from "ai";
        const openai = createOpenAI({ baseURL: process.env.BASE, apiKey: process.env.KEY });
        try {
            await generateImage({ model: openai.image("gpt-image-2"), prompt: "a dot" });
        } catch (error) {
            console.log(JSON.stringify([error.statusCode, error.message]));
        }
    """
    with listening(stage.app) as url:
        status, message = node(code, url)
    (generation,) = stage.generations.generations
    assert (status, len(stage.generator.requests)) == (424, 1)
    assert str(generation) in message


EXAMPLES = {
    "new OpenAI(": ('import OpenAI from "openai";', "data[0].b64_json"),
    "createOpenAI(": (
        'import { createOpenAI } from "@ai-sdk/openai"; import { generateImage } from "ai";',
        "image.base64",
    ),
}


@pytest.mark.parametrize("called", EXAMPLES)
def test_the_examples_of_the_docs_get_the_picture(called: str) -> None:
    imports, picture = EXAMPLES[called]
    blocks = re.findall(r"^```js\n(.*?)^```$", (ROOT / "docs/openai.md").read_text(), re.M | re.S)
    (example,) = (block for block in blocks if called in block and "generate" in block)
    with listening(Stage(model="gpt-image-2.5-flare").app) as url:
        code = f"{imports}\nconst KEY = process.env.KEY;\n{example.replace('http://127.0.0.1:8000', url)}"
        assert node(f"{code}\nconsole.log(JSON.stringify({picture}));", url) == PICTURE
