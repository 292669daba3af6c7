"""The page: files of the package, read once, served from memory.

All of them lie under an address with the digest of their content, so that browsers may keep them for ever and never mix
two versions; only the document itself is asked for each time, and answered with 304 where it is known.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from facefusion.errors import NotThere

PAGE = Path(__file__).with_name("page")
SAMPLES = Path(__file__).parents[1] / "samples"
"""Media of people who do not exist, for whoever wants to try before they have any of their own."""
MOUNT = "/page/"
MEDIA_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
}
_PACKED = (".html", ".css", ".js", ".json", ".svg")
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page.

    Attributes
    ----------
    content, packed
        As it is, and packed by gzip; empty where that saves nothing.
    media_type
        What browsers are told that it is.
    etag
        Of its content.
    """

    content: bytes
    packed: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, suffix: str) -> PageFile:
        """From its content and the ending of its name."""
        packed = gzip.compress(content, 9, mtime=0) if suffix in _PACKED else b""
        return cls(content, packed, MEDIA_TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@lru_cache(maxsize=1)
def load_page() -> Mapping[str, PageFile]:
    """The files of the page by their address below the host; the document itself is at ``/``."""
    found = {path.relative_to(PAGE).as_posix(): path for path in sorted(PAGE.rglob("*")) if path.suffix in MEDIA_TYPES}
    found |= {f"samples/{path.name}": path for path in sorted(SAMPLES.iterdir()) if path.suffix in MEDIA_TYPES}
    contents = {name: path.read_bytes() for name, path in found.items()}
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name} {len(content)} ".encode() + content)
    base = f"{MOUNT}{digest.hexdigest()[:16]}/"
    document = contents.pop("index.html").replace(MOUNT.encode(), base.encode())
    files = {f"{base}{name}": PageFile.of(content, Path(name).suffix) for name, content in contents.items()}
    return {"/": PageFile.of(document, ".html"), **files}


def answer(request: Request, path: str) -> Response:
    """A file of the page, or that it has not changed.

    Raises
    ------
    NotThere
    """
    file = load_page().get(path)
    if file is None:
        raise NotThere("There is no such file of the page.", "Load the page again.")
    headers = {"ETag": file.etag, "Cache-Control": "no-cache" if path == "/" else _FOR_EVER, "Vary": "Accept-Encoding"}
    asked = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in asked:
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.packed and "gzip" in request.headers.get("accept-encoding", ""):
        content = file.packed
        headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


def build_router() -> APIRouter:
    """Routes of all files but the document, whose route gives a session with it."""
    router = APIRouter(include_in_schema=False)

    @router.get(f"{MOUNT}{{path:path}}")
    def file(request: Request, path: str) -> Response:
        return answer(request, MOUNT + path)

    return router
