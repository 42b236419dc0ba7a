"""The examples of docs/openai.md and of the README, run as they stand there, but for the address."""

import os
import re
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.stage import Stage

ROOT = Path(__file__).parent.parent
ADDRESS = "http://127.0.0.1:8000"
MODEL = "gpt-image-2.5-flare"
PICTURE = tiny_picture("two foxes, woodcut")


def examples(page: str, language: str) -> list[str]:
    """The blocks of a page in this language that call OpenAI's API."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    return [block for block in blocks if f"{ADDRESS}/v1" in block]


def test_the_example_in_python_gets_the_picture_and_where_it_stays() -> None:
    code = next(block for block in examples("docs/openai.md", "python") if block.startswith("client = OpenAI("))
    with listening(Stage(model=MODEL).app) as url:
        names: dict[str, Any] = {"OpenAI": OpenAI, "KEY": planted.API_KEY}
        exec(code.replace(ADDRESS, url), names)
        picture = names["picture"]
        assert b64decode(picture.b64_json) == PICTURE
        assert httpx2.get(picture.pixyproxy["url"]).content == PICTURE
        names["client"].close()


def test_the_example_of_the_readme_gets_a_url() -> None:
    (code,) = (block for block in examples("README.md", "python") if block.startswith("client = OpenAI("))
    client, call = code.replace(ADDRESS, "{url}").strip().splitlines()
    with listening(Stage(model=MODEL).app) as url:
        names: dict[str, Any] = {"OpenAI": OpenAI, "key": planted.API_KEY}
        exec(client.format(url=url), names)
        picture = httpx2.get(eval(call, names))
        names["client"].close()
    assert (picture.content, picture.headers["content-type"]) == (PICTURE, "image/png")


def test_the_example_with_curl_gets_a_url() -> None:
    (code,) = (block for block in examples("docs/openai.md", "sh") if "/images/generations" in block)
    with listening(Stage(model=MODEL).app) as url:
        environment = {**os.environ, "KEY": planted.API_KEY}
        command = ["bash", "-c", code.replace(ADDRESS, url).replace("curl ", "curl -sS --fail ", 1)]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 0, said.stderr
        (found,) = re.findall(r'"data": \[\{"url": "([^"]+)"', said.stdout)
        assert httpx2.get(found).content == PICTURE


def test_the_examples_of_edits_edit(tmp_path: Path) -> None:
    (code,) = (block for block in examples("docs/openai.md", "sh") if "/edits" in block)
    (tmp_path / "fox.png").write_bytes(PICTURE)
    stage = Stage(model=MODEL)
    with listening(stage.app) as url:
        key = {"Authorization": f"Bearer {planted.API_KEY}"}
        guid = httpx2.post(f"{url}/image", json={"prompt": "two foxes, woodcut"}, headers=key).json()["guid"]
        code = code.replace("…", b64encode(PICTURE).decode()).replace(ADDRESS, url)
        command = ["bash", "-ec", code.replace("curl ", "curl -sS --fail ")]
        environment = {**os.environ, "KEY": planted.API_KEY, "GUID": guid}
        said = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert said.returncode == 0, said.stderr
    assert stage.generator.inputs == [(), (PICTURE,), (PICTURE,), (PICTURE,)]


@pytest.mark.parametrize("called", ["new OpenAI(", "createOpenAI(", "DallEAPIWrapper(", "litellm.image_generation("])
def test_every_client_has_its_one_changed_line(called: str) -> None:
    blocks = [*examples("docs/openai.md", "js"), *examples("docs/openai.md", "python")]
    assert [block.count(f"{ADDRESS}/v1") for block in blocks if called in block] == [1]
