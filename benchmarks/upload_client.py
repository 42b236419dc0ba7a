"""Clients that have images edited at the same time: prints the statuses that they got, and the seconds it took."""

import argparse
import base64
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.pictures import png

MB = 1024 * 1024
BOUNDARY = "a-boundary-of-the-benchmarks"


def form_of(picture: bytes, images: int) -> tuple[str, bytes]:
    """Content-Type and body of a form with so many images."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
    image = (head % ("image[]", '; filename="a.png"')).encode() + picture + b"\r\n"
    text = (head % ("prompt", "")).encode() + b"a lighthouse at dawn\r\n"
    return f"multipart/form-data; boundary={BOUNDARY}", image * images + text + f"--{BOUNDARY}--\r\n".encode()


def json_of(picture: bytes, images: int) -> tuple[str, bytes]:
    """Content-Type and body of JSON with so many images."""
    named = {"image_url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}
    return "application/json", json.dumps({"prompt": "a lighthouse at dawn", "images": [named] * images}).encode()


def edit(port: int, content_type: str, body: bytes, _: int) -> int:
    """The status of an edit; 0 if none came."""
    lines = [
        "POST /v1/images/edits HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {os.environ['PIXYPROXY_API_KEY']}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=200) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            connection.sendall(body)  # shared by all clients: this process holds it once
            answer = connection.recv(1000)
            while connection.recv(65_536):
                pass
    except OSError:
        return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def main() -> None:
    """Carry out what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--form", choices=("form", "json"), required=True)
    for name in ("port", "clients", "images", "megabytes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    picture = png(options.megabytes * MB, seed=1)
    content_type, body = {"form": form_of, "json": json_of}[options.form](picture, options.images)
    began = time.monotonic()
    with ThreadPoolExecutor(options.clients) as threads:
        statuses = list(threads.map(partial(edit, options.port, content_type, body), range(options.clients)))
    print(json.dumps([statuses, time.monotonic() - began]))


if __name__ == "__main__":
    main()
