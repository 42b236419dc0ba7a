"""`pixyproxy demo-upstream`: serves the demo upstream over HTTP."""

import argparse

from pixyproxy.cli.addresses import open_sockets, require_free_port, url_of
from pixyproxy.cli.arguments import Commands, port, seconds
from pixyproxy.settings import Settings
from pixyproxy.web.log.format import log_config
from pixyproxy.web.server.run import serve_plain

REMEDY = "--host or --port"


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("demo-upstream", help="the demo upstream over HTTP, for trying and for tests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port, default=8001, help="(default: 8001)")
    parser.add_argument(
        "--delay",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="before each answer; spread over a stream's events",
    )
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Serve the demo upstream until SIGTERM or SIGINT."""
    from pixyproxy.upstream.demo.server import DemoUpstream  # imports Pillow: no other command waits for it

    number = require_free_port(options.host, options.port, remedy=REMEDY)
    address = f"{url_of(options.host, number)}/v1"
    print(f"The demo upstream listens on {address}: set OPENAI_BASE_URL to it, OPENAI_API_KEY to anything.", flush=True)
    serve_plain(
        DemoUpstream(delay=options.delay).app,
        sockets=open_sockets(options.host, number, remedy=REMEDY),
        log_config=log_config(form=settings.log_format, level=settings.log_level),
    )
    return 0
