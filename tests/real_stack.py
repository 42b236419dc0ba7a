"""The real stack: `pixyproxy serve` over an SQL server, SeaweedFS and the demo upstream, each behind a proxy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from pixyproxy.upstream.demo.server import DemoUpstream
from tests import planted
from tests.listening import listening
from tests.servers import PixyProxy, SeaweedFS, SqlServer, run_cli
from tests.tcp_proxy import TcpProxy

KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
TIMEOUT = 30


@dataclass
class Stack:
    """Replicas over real parts, each part behind a proxy that misbehaves on request.

    `direct` is the environment of a command that takes no proxy.
    """

    replicas: list[PixyProxy]
    upstream: DemoUpstream
    database: str
    bucket: str
    proxies: dict[str, TcpProxy]
    environment: dict[str, str]
    direct: dict[str, str]
    folder: Path

    def post(self, replica: int = 0, *, headers: Mapping[str, str] | None = None, **body: object) -> httpx2.Response:
        """A POST of the planted prompt, drawn small."""
        sent = {"prompt": planted.PROMPT, "size": "32x16", **body}
        headers = {**KEY, **(headers or {})}
        return httpx2.post(f"{self.replicas[replica].url}/image", json=sent, headers=headers, timeout=TIMEOUT)

    def get(self, path: str, replica: int = 0) -> httpx2.Response:
        """A GET with the key."""
        return httpx2.get(f"{self.replicas[replica].url}{path}", headers=KEY, timeout=TIMEOUT)

    def mend(self) -> None:
        """Every part behaves again."""
        self.upstream.fault = None
        self.upstream.delay = 0
        for proxy in self.proxies.values():
            proxy.mode = "pass"


@contextmanager
def real_stack(
    server: SqlServer,
    seaweedfs: SeaweedFS,
    *,
    name: str,
    folder: Path,
    logs: Path,
    replicas: int,
    settings: Mapping[str, str],
    label: str = "replica",
    connecting: Mapping[str, object] | None = None,
) -> Iterator[Stack]:
    """A stack with the database and the bucket of this name, which are made unless they exist.

    `connecting`: options of the database's URL.
    """
    upstream = DemoUpstream(api_key=planted.UPSTREAM_KEY, keep=5000)
    with listening(upstream.app) as upstream_url:
        ports = {
            "database": server.port,
            "storage": seaweedfs.port,
            "upstream": int(upstream_url.rpartition(":")[2]),
        }
        proxies = {part: TcpProxy(port) for part, port in ports.items()}

        def environment(ports: Mapping[str, int]) -> dict[str, str]:
            return {
                "PIXYPROXY_DATABASE_URL": server.url(name, port=ports["database"], options=connecting),
                "PIXYPROXY_STORAGE_URL": f"s3://{name}/pictures",
                "PIXYPROXY_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['storage']}",
                "PIXYPROXY_API_KEY": planted.API_KEY,
                "PIXYPROXY_GENERATION_DEADLINE": "8",
                "OPENAI_API_KEY": planted.UPSTREAM_KEY,
                "OPENAI_BASE_URL": f"http://127.0.0.1:{ports['upstream']}/v1",
                "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
                **settings,
            }

        direct, proxied = environment(ports), environment({part: proxy.port for part, proxy in proxies.items()})
        if not server.query("SHOW DATABASES LIKE %s", f"test_{name}"):
            server.create(name)
            migrated = run_cli(folder, "migrate", "--create-bucket", environment=direct)
            assert migrated.returncode == 0, migrated.stderr
        started = [PixyProxy(folder / str(number), proxied) for number in range(replicas)]
        try:
            for number, replica in enumerate(started):
                replica.process.log = logs / f"{label}-{number}.log"
                replica.start()
            yield Stack(started, upstream, f"test_{name}", name, proxies, proxied, direct, folder)
        finally:
            for replica in started:
                replica.process.stop()
            for proxy in proxies.values():
                proxy.close()
