"""Clients that read slowly, in a process of their own: so many at once, each at its own small rate.

`python -m benchmarks.slow_client --port P --clients N --rate BYTES PATH …` prints a JSON list: status and body bytes of
each client, 0 for a status that never came.
"""

import argparse
import asyncio
import json
import socket
import sys
from itertools import cycle, islice

import uvloop

RECEIVE_BUFFER = 64 * 1024
PIECE = 16 * 1024
TIMEOUT = 300.0


async def read_slowly(port: int, path: str, *, rate: float) -> tuple[int, int]:
    """Status and body bytes of an answer that is read at `rate` bytes a second."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        client.settimeout(0)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        begun, total, head, status, body = loop.time(), 0, b"", 0, 0
        while piece := await loop.sock_recv(client, PIECE):
            total += len(piece)
            if status:
                body += len(piece)
            else:
                head += piece
                before, found, rest = head.partition(b"\r\n\r\n")
                if found:
                    status, body = int(before.split()[1]), len(rest)
            await asyncio.sleep(begun + total / rate - loop.time())
        return status, body


async def client(port: int, path: str, *, rate: float) -> tuple[int, int]:
    """`read_slowly`, with (0, 0) for one that failed."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await read_slowly(port, path, rate=rate)
    except (OSError, TimeoutError):
        return 0, 0


async def clients(port: int, paths: list[str], *, count: int, rate: float) -> list[tuple[int, int]]:
    """The results of all clients."""
    return list(await asyncio.gather(*(client(port, path, rate=rate) for path in islice(cycle(paths), count))))


def main() -> None:
    """Read as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("paths", nargs="+")
    options = parser.parse_args()
    found = uvloop.run(clients(options.port, options.paths, count=options.clients, rate=options.rate))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
