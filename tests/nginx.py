"""Debian's nginx with deploy/nginx.conf, and a replica that it can stand before."""

import http.server
import os
import shutil
import socket
import threading
from pathlib import Path

from tests.servers import Process, free_ports, missing, wait_until

NGINX_CONF = Path(__file__).parent.parent / "deploy" / "nginx.conf"


class Nginx:
    """Debian's nginx with deploy/nginx.conf, of which only the lines marked ADDRESS are changed.

    `behind`: the address of a proxy before it; then the lines for that are there. `limited`: whether the limits by
    client address are there.
    """

    def __init__(self, folder: Path, *, ports: list[int], behind: str | None = None, limited: bool = True) -> None:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx is None:
            missing("nginx", "apt-get install nginx-light")
        folder.mkdir()
        self.folder = folder
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        replicas = " ".join(f"server 127.0.0.1:{port};" for port in ports)
        addresses = {
            "server api:8000 resolve;": replicas,
            "listen 80;": f"listen 127.0.0.1:{self.port};",
            "resolver": "",
            "proxy_cache_path": f"proxy_cache_path {folder}/pictures keys_zone=pictures:1m max_size=64m;",
            "access_log": f"access_log {folder}/access.log without_query;",
        }
        lines = NGINX_CONF.read_text().splitlines()
        for number, line in enumerate(lines):
            if "# ADDRESS" in line:
                (start,) = [start for start in addresses if line.strip().startswith(start)]
                lines[number] = addresses.pop(start)
        assert not addresses
        if behind is not None:
            lines = [line.removeprefix("#") if "real_ip" in line else line for line in lines]
            lines = [line.replace("192.0.2.0/24", behind) for line in lines]
        if not limited:
            lines = [line for line in lines if not line.strip().startswith(("limit_req zone", "limit_conn "))]
        (folder / "default.conf").write_text("\n".join(lines))
        temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        (folder / "nginx.conf").write_text(
            ("user root;\n" if os.geteuid() == 0 else "")
            + f"daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
            + "http {\nsendfile on;\nkeepalive_timeout 65;\n"  # as in nginx's image
            + "".join(f"{name}_temp_path {folder}/{name};\n" for name in temporary)
            + f"include {folder}/default.conf;\n}}\n"
        )
        self.process = Process([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.log")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process.start()

        def listens() -> None:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()

        wait_until(listens, seconds=10, what="nginx", process=self.process)


class Replica(http.server.ThreadingHTTPServer):
    """Answers every request with an empty 200, as soon as `released` is set."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.released = threading.Event()
        self.released.set()
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def received(self, count: int) -> None:
        """Raises unless exactly so many requests have come."""
        assert len(self.methods) == count


class Answer(http.server.BaseHTTPRequestHandler):
    """A request to a `Replica`."""

    server: Replica

    def answer(self) -> None:
        """Say that it came, and answer."""
        self.server.methods.append(self.command)
        self.server.released.wait()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer  # noqa: N815 -- http.server's names

    def log_message(self, *_: object) -> None:
        """Write no log."""
