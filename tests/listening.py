"""An ASGI application on a port of 127.0.0.1, in a thread of the test process."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from pixyproxy.web.server.protocol import HttpProtocol


@contextmanager
def listening(app: ASGIApp, *, patient: bool = False, protocol: type[HttpProtocol] = HttpProtocol) -> Iterator[str]:
    """The application's address while the block runs; served as `pixyproxy serve` does.

    `patient`: it ends as after SIGTERM, when every request and every connection has ended, and must within 20 s.
    """
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, interface="asgi3", log_config=None, access_log=False, server_header=False, http=protocol, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit, server.force_exit = True, not patient
        thread.join(20)
        listener.close()
        assert not thread.is_alive(), "the server does not end"
