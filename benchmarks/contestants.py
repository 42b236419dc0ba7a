"""The servers beside PixyProxy, each a process on 127.0.0.1 with one worker."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2

from tests import planted
from tests.servers import Process, SeaweedFS, clean_environment, free_ports, wait_until

ROOT = Path(__file__).parent.parent
BENCH_BIN = Path(sys.prefix) / "bench" / "bin"
"""Programs of the second virtual environment: LiteLLM, py-spy, and a Python with matplotlib."""
MASTER_KEY = "sk-benchmark-master-key-0123456789abcdef"

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    # Buffered, in memory alone: no file is written for a client that is slower than the storage.
    proxy_buffering on;
    proxy_buffer_size 16k;
    proxy_buffers 16 64k;
    proxy_busy_buffers_size 256k;
    proxy_max_temp_file_size 0;
    upstream storage {{
        server 127.0.0.1:{storage};
        keepalive 64;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://storage;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host 127.0.0.1:{storage};  # as the URL was signed
        }}
    }}
}}
"""
NGINX_WORDS = "proxy_buffering on, buffers of 16 × 64 KB, no temporary files, 64 connections kept to the storage"


def program(name: str) -> str | None:
    """The path of a program that may be in a folder for administrators."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Server:
    """A process that listens on `port`."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        folder: Path,
        port: int,
        environment: Mapping[str, str] | None = None,
        path: str = "/",
        seconds: float = 60,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        log, inside = folder / f"{name}.log", ROOT if environment is None else folder
        self.process = Process(
            command, log, environment={**clean_environment({}), **(environment or {})}, folder=inside
        )
        self.process.start()
        address = f"http://127.0.0.1:{port}{path}"
        wait_until(lambda: httpx2.get(address), seconds=seconds, what=name, process=self.process)

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self.process.handle.pid


def nginx(folder: Path, *, storage: int, text: str = NGINX) -> Server:
    """nginx as a reverse proxy before the storage's port."""
    (port,) = free_ports(1)
    folder.mkdir(parents=True)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(text.format(folder=folder, port=port, storage=storage, user=user))
    found = program("nginx")
    assert found is not None
    return Server("nginx", [found, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder=folder, port=port)


def caching_nginx(folder: Path, *, storage: int) -> Server:
    """nginx with its cache before the storage's port: the first answer of each object is kept for an hour."""
    cache = f"proxy_cache_path {folder}/cache keys_zone=own:32m max_size=4g use_temp_path=off;"
    kept = "proxy_cache own; proxy_cache_key $uri; proxy_cache_valid 200 1h; proxy_cache_lock on;"
    text = (
        NGINX.replace("access_log off;", "sendfile on; access_log {folder}/access.log; " + cache)
        .replace("proxy_max_temp_file_size 0;", "")
        .replace("proxy_pass http://storage;", "proxy_pass http://storage; " + kept)
    )
    return nginx(folder, storage=storage, text=text)


def uvicorn(factory: str, folder: Path, *, environment: Mapping[str, str] | None = None, path: str = "/") -> Server:
    """An application of this package behind uvicorn, set up as PixyProxy sets it up."""
    (port,) = free_ports(1)
    options = ["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--no-access-log", "--no-server-header"]
    return Server(
        factory.replace(":", "-"),
        [
            sys.executable,
            "-m",
            "uvicorn",
            factory,
            "--factory",
            "--log-level",
            "warning",
            "--port",
            str(port),
            *options,
        ],
        folder=folder,
        port=port,
        environment={"PYTHONPATH": str(ROOT), **(environment or {})},
        path=path,
    )


def usual_endpoint(folder: Path, *, seaweedfs: SeaweedFS, bucket: str) -> Server:
    """The usual endpoint over a bucket."""
    environment = {
        "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
        "USUAL_ENDPOINT_URL": seaweedfs.endpoint,
        "USUAL_BUCKET": bucket,
    }
    return uvicorn("benchmarks.usual_endpoint:application", folder, environment=environment)


class Stub(Server):
    """The upstream stub; its delay can be changed."""

    def __init__(self, folder: Path, *, delay: float) -> None:
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "benchmarks.upstream_stub", "--port", str(port), "--delay", str(delay)]
        super().__init__("upstream-stub", command, folder=folder, port=port, path="/count")
        self.url = f"http://127.0.0.1:{port}"

    def set_delay(self, seconds: float) -> None:
        """Set the seconds that a picture takes."""
        httpx2.get(f"{self.url}/delay/{seconds}")

    def count(self) -> int:
        """Pictures that were requested."""
        count: int = httpx2.get(f"{self.url}/count").json()["count"]
        return count


def litellm(folder: Path, *, upstream: str) -> Server:
    """LiteLLM's proxy before the upstream: without a database, and without requests to other hosts."""
    (port,) = free_ports(1)
    folder.mkdir(parents=True)
    model = {"model": "openai/gpt-image-1", "api_base": f"{upstream}/v1", "api_key": planted.UPSTREAM_KEY}
    known = {
        "model_list": [{"model_name": "gpt-image-1", "litellm_params": model}],
        "litellm_settings": {"telemetry": False},
    }
    (folder / "config.yaml").write_text(json.dumps(known))
    options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    return Server(
        "litellm",
        [str(BENCH_BIN / "litellm"), "--config", str(folder / "config.yaml"), *options],
        folder=folder,
        port=port,
        environment={
            "HOME": str(folder),
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "PYTHONWARNINGS": "ignore",
        },
        path="/health/liveliness",
        seconds=120,
    )
