"""The routes of the page: the document at `/`, and its files."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.web.http.compression import accepts_gzip
from pixyproxy.web.http.conditions import Validators, conditions_of, not_modified
from pixyproxy.web.http.content import HeadResponse
from pixyproxy.web.page.contents import Page, PageFile

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
DOCUMENT_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
}
FILE_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}


def page_of(request: Request) -> Page:
    """The page of the application that serves this request."""
    page: Page = request.app.state.page
    return page


@router.get("/")
async def get_document(request: Request) -> Response:
    """The page for people."""
    return file_response(request, page_of(request).document, headers=DOCUMENT_HEADERS)


@router.get("/static/{version}/{name}")
async def get_file(request: Request, version: str, name: str) -> Response:
    """A file of the page. Its URL changes with any of the files, so it may be kept for ever."""
    page = page_of(request)
    file = page.files.get(name)
    if file is None or version != page.version:
        raise NotFoundError("The page of this version has no such file. Load the page again.")
    return file_response(request, file, headers=FILE_HEADERS)


def file_response(request: Request, file: PageFile, *, headers: dict[str, str]) -> Response:
    """The file, compressed for clients that accept it; 304 if the client has it.

    The compressed bytes are others, so their entity tag is a weak one, as that of compressed JSON (`Gzip`).
    """
    headers = {**headers, "ETag": file.etag, "X-Content-Type-Options": "nosniff"}
    if not_modified(conditions_of(request.scope["headers"]), Validators(etag=file.etag)):
        return HeadResponse(304, headers)
    headers = {**headers, "Content-Type": file.media_type, "Vary": "Accept-Encoding"}
    if not accepts_gzip(request.scope["headers"]):
        return Response(file.plain, headers=headers)
    return Response(file.packed, headers={**headers, "ETag": f"W/{file.etag}", "Content-Encoding": "gzip"})
