"""The body of an edit: a form as clients send it, or JSON with `data:` URLs."""

import base64
import binascii
import hashlib
import json
import re
from typing import Any

import anyio.to_thread
from starlette.datastructures import FormData, UploadFile

from pixyproxy.upstream.demo.inputs import Upload
from pixyproxy.upstream.demo.refusals import Refusal, refuse_type, refuse_value
from pixyproxy.upstream.demo.request import INTEGERS, PARAMETERS

FILES = ("image", "mask", "markup")
Files = dict[str, list[Upload]]


def split_form(form: FormData) -> tuple[dict[str, Any], Files]:
    """The text fields, with numbers and booleans as JSON has them, and the files. Raises Refusal."""
    values: dict[str, Any] = {}
    files: Files = {name: [] for name in FILES}
    for field, value in form.multi_items():
        name = re.sub(r"\[[0-9]*\]$", "", field) if field.startswith("image[") else field
        if isinstance(value, UploadFile):
            if name not in files:
                if name not in PARAMETERS:
                    raise Refusal(f"Unknown parameter: '{field}'.", param=field, code="unknown_parameter")
                raise Refusal(f"Invalid type for '{field}': it is no file.", param=field, code="invalid_type")
            content_type = (value.content_type or "application/octet-stream").partition(";")[0].strip().lower()
            files[name].append(Upload(field, content_type, value.size or 0, value.file))
        elif name in files:
            raise refuse_type(field, "a file", value)
        elif name in values:
            message = (
                f"Duplicate parameter: '{name}'. You provided multiple values for this parameter, "
                "whilst only one is allowed."
            )
            raise Refusal(message, param=name, code="duplicate_parameter")
        else:
            values[name] = _typed(name, value)
    return values, _one_each(files)


async def facts_of(form: FormData) -> list[dict[str, Any]]:
    """What arrived, in order, without the files' bytes."""
    facts: list[dict[str, Any]] = []
    for name, value in form.multi_items():
        if isinstance(value, str):
            facts.append({"name": name, "value": value})
            continue
        digest = await anyio.to_thread.run_sync(_digest, value.file)
        await value.seek(0)
        facts.append(
            {
                "name": name,
                "filename": value.filename,
                "content_type": value.content_type,
                "size": value.size,
                "sha256": digest,
            }
        )
    return facts


def _digest(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def split_json(text: bytes) -> tuple[dict[str, Any], Files]:
    """The same from JSON: `images` is a list of `{"image_url": "data:…"}`, `mask` is one of them.

    Raises Refusal; ValueError if it is not JSON.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise Refusal("The request body must be a JSON object.")
    files: Files = {name: [] for name in FILES}
    images = values.pop("images", None) or []
    if not isinstance(images, list):
        raise refuse_type("images", "an array of objects", images)
    files["image"] = [_referred(f"images[{number}]", each) for number, each in enumerate(images)]
    for name in ("mask", "markup"):
        if (value := values.pop(name, None)) is not None:
            files[name] = [_referred(name, value)]
    return values, files


def _referred(param: str, value: Any) -> Upload:
    """The file of a `data:` URL. This server fetches nothing and knows no file ids."""
    url = value.get("image_url") if isinstance(value, dict) else None
    if not isinstance(url, str):
        raise refuse_type(param, "an object with 'image_url'", value)
    match = re.match(r"data:([^;,]*);base64,", url)
    if match is None:
        raise refuse_value(param, f"Invalid '{param}': the demo upstream takes base64 in 'data:' URLs only.")
    try:
        data = base64.b64decode(url[match.end() :], validate=True)
    except binascii.Error:
        raise Refusal(f"Invalid '{param}': it is not base64.", param=param, code="invalid_base64_image") from None
    return Upload.of(param, match[1].lower(), data)


def _typed(name: str, value: str) -> Any:
    if name == "stream":
        return {"true": True, "false": False}.get(value.lower(), value)
    if name in INTEGERS and re.fullmatch(r"-?[0-9]{1,9}", value):
        return int(value)
    return value


def _one_each(files: Files) -> Files:
    for name in ("mask", "markup"):
        if len(files[name]) > 1:
            raise Refusal(f"Duplicate parameter: '{name}'.", param=name, code="duplicate_parameter")
    return files
