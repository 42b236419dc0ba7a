"""The page at /docs: Swagger UI from a package, so that it works without internet and runs no foreign script."""

from functools import cache
from importlib.resources import files

import anyio.to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.web.http.compression import accepts_gzip, pack
from pixyproxy.web.page.contents import load_page

router = APIRouter(include_in_schema=False)

CACHED = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PixyProxy: API</title>
<link rel="icon" href="favicon.svg">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
START = """fetch("openapi.json")
  .then((answer) => answer.json())
  .then((document) => {
    // Keys are typed into this page. It talks to the origin that served it, whatever PIXYPROXY_PUBLIC_URL is.
    const here = new URL(".", location).pathname.replace(/[/]$/, "") || "/";
    SwaggerUIBundle({
      spec: { ...document, servers: [{ url: here, description: "The service that shows this page." }] },
      dom_id: "#swagger-ui",
      deepLinking: true,
      tryItOutEnabled: true,
      displayRequestDuration: true,
      validatorUrl: null,
    });
  });
"""


@cache
def swagger_file(name: str) -> bytes:
    """A file of Swagger UI, which the package fastapi-swagger carries; pinned by its hash in requirements.txt."""
    return files("fastapi_swagger.resources").joinpath(name).read_bytes()


@cache
def packed_swagger_file(name: str) -> bytes:
    """The same file, compressed once: compressing takes 40 ms of CPU, and anyone may request it."""
    return pack(swagger_file(name))


async def swagger_response(request: Request, name: str, *, media_type: str) -> Response:
    """The answer with a file of Swagger UI, compressed for clients that accept it."""
    headers = {**CACHED, "Vary": "Accept-Encoding"}
    if not accepts_gzip(request.scope["headers"]):
        return Response(swagger_file(name), media_type=media_type, headers=headers)
    packed = await anyio.to_thread.run_sync(packed_swagger_file, name)
    return Response(packed, media_type=media_type, headers={**headers, "Content-Encoding": "gzip"})


@router.get("/docs")
async def docs() -> Response:
    """The description of the API, to be tried out."""
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return Response(PAGE, media_type="text/html", headers=headers)


@router.get("/docs/swagger-ui-bundle.js")
async def swagger_script(request: Request) -> Response:
    """Swagger UI's script."""
    return await swagger_response(request, "swagger-ui-bundle.js", media_type="text/javascript")


@router.get("/docs/swagger-ui.css")
async def swagger_style(request: Request) -> Response:
    """Swagger UI's style."""
    return await swagger_response(request, "swagger-ui.css", media_type="text/css")


@router.get("/docs/start.js")
async def start_script() -> Response:
    """The script that starts Swagger UI. It is a file because the page's policy allows no inline script."""
    return Response(START, media_type="text/javascript", headers={**CACHED, "Cache-Control": "no-cache"})


@router.get("/favicon.svg")
@router.get("/favicon.ico")
async def favicon() -> Response:
    """The icon of the service."""
    headers = {**CACHED, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
    return Response(load_page().files["icon.svg"].plain, media_type="image/svg+xml", headers=headers)
