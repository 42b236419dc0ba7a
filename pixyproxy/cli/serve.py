"""`pixyproxy serve`: serves the API."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from pixyproxy.bootstrap.app import build
from pixyproxy.cli.addresses import ANY_ADDRESS, login_url, open_sockets, require_free_port, url_of
from pixyproxy.cli.arguments import Commands, port, positive, program_name
from pixyproxy.cli.start import Greeting, prepare, prepare_database
from pixyproxy.settings import PREFIX, Settings
from pixyproxy.web.log.format import log_config
from pixyproxy.web.server.run import serve

SAMPLE_KEY = "local-only-api-key-change-me"
"""The key of .env.example."""
REMEDY = f"{PREFIX}HOST, {PREFIX}PORT, --host or --port"


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("serve", help="serve the API")
    parser.add_argument("--host", help=f"address to listen on (default: {PREFIX}HOST, 127.0.0.1)")
    parser.add_argument("--port", type=port, help=f"port to listen on (default: {PREFIX}PORT, 8000)")
    parser.add_argument("--workers", type=positive, default=1, help="processes (default: 1)")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Check the configuration, print how to begin, and serve."""
    host, number = options.host or settings.host, settings.port if options.port is None else options.port
    parts = build(settings)
    prepare_database(settings)
    number = require_free_port(host, number, remedy=REMEDY)
    greeting = asyncio.run(prepare(settings, parts, with_code=sys.stdout.isatty()))
    warn(settings, host=host)
    greet(
        settings,
        address=url_of(host, number),
        greeting=greeting,
        options=address_options(settings, host=host, number=number),
    )
    serve(
        "pixyproxy.bootstrap.app:app_from_environment",
        sockets=open_sockets(host, number, remedy=REMEDY),
        workers=options.workers,
        max_connections=settings.max_connections,
        drain_delay=settings.drain_delay,
        log_config=log_config(form=settings.log_format, level=settings.log_level),
    )
    return 0


def warn(settings: Settings, *, host: str) -> None:
    """Warn of settings that are fine on a laptop and wrong in production."""
    if settings.api_key is not None and settings.api_key.get_secret_value() == SAMPLE_KEY:
        print(
            f"Warning: {PREFIX}API_KEY is the sample of .env.example, which everybody knows: choose another",
            file=sys.stderr,
        )
    if host in ANY_ADDRESS and settings.public_url is None:
        print(
            f"Warning: {PREFIX}PUBLIC_URL is not set, and PixyProxy listens on all addresses: the URLs in its answers "
            "begin with the Host that each client sends",
            file=sys.stderr,
        )


def address_options(settings: Settings, *, host: str, number: int) -> list[str]:
    """The options of a command that is to name the address that `serve` listens on."""
    if settings.public_url is not None:
        return []
    others = {"--host": host, "--port": str(number)}
    known = {"--host": settings.host, "--port": str(settings.port)}
    return [word for name, value in others.items() if value != known[name] for word in (name, value)]


def greet(settings: Settings, *, address: str, greeting: Greeting, options: Sequence[str] = ()) -> None:
    """Print what a newcomer needs, before the log begins. `options`: those of `login` that name the address."""
    if greeting.key_file is not None:
        key = f"$(cat {greeting.key_file})"
        print(f"The API key is in {greeting.key_file}.")
    else:
        key = f"${PREFIX}API_KEY" if settings.api_key is not None else "$KEY"
        if settings.api_key is None:
            print(f"Make an API key with: {program_name()} keys create NAME")
            print(f"Log in to the page with: {program_name()} login --key NAME")
    if settings.draws_demo:
        print("Pictures come from the demo upstream, which costs nothing. For real ones set OPENAI_API_KEY.")
    print(
        f"PixyProxy listens on {address} (its API is described at {address}/docs). Try:\n\n"
        f'  curl {address}/image -H "Authorization: Bearer {key}" \\\n'
        "    -H 'Content-Type: application/json' -d '{\"prompt\": \"a lighthouse at dawn\"}'\n",
        flush=True,
    )
    if greeting.code is not None:
        url = login_url(settings.public_url or address, greeting.code)
        again = " ".join([program_name(), "login", *options])
        print(f"Open {url}  (once, for 15 minutes; '{again}' makes another)\n", flush=True)
