"""Builds the application of one process."""

import gc
import logging
from importlib.metadata import version as installed_version

from starlette.types import ASGIApp

from pixyproxy.bootstrap.adapters import open_adapters, open_generator
from pixyproxy.bootstrap.services import Parts, build_services
from pixyproxy.settings import Settings, read_settings
from pixyproxy.web.app import DIALECTS, MCP_DIALECT, create_app

GC_THRESHOLDS = (10_000, 20, 20)


def version() -> str:
    """The version that is installed."""
    return installed_version("pixyproxy")


def build(settings: Settings) -> Parts:
    """Adapters and services. Nothing is connected yet."""
    adapters = open_adapters(settings)
    return build_services(settings, adapters, generator=open_generator(settings, adapters.cleanup))


def app_from_environment() -> ASGIApp:
    """The application of one worker process."""
    logging.captureWarnings(capture=True)
    settings = read_settings()
    parts = build(settings)
    dialects = DIALECTS if settings.mcp else tuple(each for each in DIALECTS if each is not MCP_DIALECT)
    app = create_app(parts.services, version=version(), background=parts.background, dialects=dialects)
    # Objects that exist now live until the process ends. Scanning them in each collection cost about a sixth of the
    # CPU of a small answer (measured).
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return app
