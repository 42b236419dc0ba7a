"""Addresses to listen on: all of a host, those that this machine has, and one line for what is wrong with them."""

import socket
from pathlib import Path

import pytest

from pixyproxy.web.server.accepting import Address, bind_all, close_all
from tests.servers import run_cli

NOT_OURS = "192.0.2.1"
"""An address of TEST-NET-1, which no machine has."""


def address(host: str) -> Address:
    """An address as `socket.getaddrinfo` answers it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.SOCK_STREAM, 6, "", (host, 0, 0, 0) if ":" in host else (host, 0)


def ports_of(sockets: list[socket.socket]) -> list[tuple[str, int]]:
    """Host and port of sockets, which are closed."""
    names = [each.getsockname()[:2] for each in sockets]
    close_all(sockets)
    return names


def test_all_addresses_of_a_host_are_bound_at_the_same_port() -> None:
    (first, port), second = ports_of(bind_all([address("127.0.0.1"), address("127.0.0.2")], port=0))
    assert (first, second) == ("127.0.0.1", ("127.0.0.2", port))


def test_an_address_that_the_machine_does_not_have_is_skipped_if_another_works() -> None:
    for addresses in (["127.0.0.1", NOT_OURS], [NOT_OURS, "127.0.0.1"]):
        assert [host for host, _ in ports_of(bind_all(map(address, addresses), port=0))] == ["127.0.0.1"]
    unknown = (1234, socket.SOCK_STREAM, 0, "", ("", 0))  # a family that the kernel does not have
    assert [host for host, _ in ports_of(bind_all([unknown, address("127.0.0.1")], port=0))] == ["127.0.0.1"]
    with pytest.raises(OSError, match="assign requested address"):
        bind_all([address(NOT_OURS)], port=0)


def test_an_address_that_is_taken_is_an_error_though_another_is_free_and_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            bind_all([address("127.0.0.1"), address("127.0.0.2")], port=port)
        socket.create_server(("127.0.0.1", port)).close()


def test_an_address_of_another_machine_is_one_line(tmp_path: Path) -> None:
    for command in ("serve", "demo-upstream"):
        result = run_cli(tmp_path, command, "--host", NOT_OURS, "--port", "0")
        assert (result.returncode, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert f"cannot listen on {NOT_OURS}:0 (Cannot assign requested address)" in line
