"""The files of the page: complete, translated, served with the right headers, and nothing in them from elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from string import Formatter

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from facefusion import errors
from facefusion.errors import FaceFusionError
from facefusion.server import pages

LOCALES = sorted((pages.PAGE / "locales").glob("*.json"))
SCRIPTS = sorted((pages.PAGE / "js").glob("*.js"))
ENGLISH = json.loads((pages.PAGE / "locales/en.json").read_text(encoding="utf-8"))
HELPS_AND_NAMES = re.compile(r"^(option|help|choice|model|problem)\.")
"""What stands in the schema in English anyway may stand in one language only."""


class Client:
    """Asks an application without a network."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://page") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def client():
    app = FastAPI()

    @app.get("/")
    def document(request: Request) -> Response:
        return pages.answer(request, "/")

    @app.exception_handler(FaceFusionError)
    def refuse(request: Request, error: Exception) -> Response:
        return Response(str(error), 404)

    app.include_router(pages.build_router())
    return Client(app)


def test_document_names_files_by_their_content_and_is_asked_for_each_time(client):
    answer = client.get("/")
    assert answer.headers["cache-control"] == "no-cache"
    assert client.get("/", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    paths = re.findall(r'(?:href|src)="(/page/[^"]+)"', answer.text)
    assert len(paths) >= 4
    for path in paths:
        file = client.get(path)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]
        assert client.get(path, headers={"If-None-Match": file.headers["etag"]}).status_code == 304


def test_every_module_that_is_imported_is_served_as_a_script(client):
    base = re.search(r'src="(/page/[0-9a-f]+/)js/app.js"', client.get("/").text)[1]
    waiting, seen = [f"{base}js/app.js"], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"].startswith("text/javascript")
        for found in re.findall(r'(?:from |import\()["\'](\.[^"\']+)["\']', answer.text):
            waiting.append(str(answer.url.join(found).path))
    assert len(seen) > len(SCRIPTS) - 2  # early.js is no module


def test_files_are_packed_for_those_who_can_unpack_them(client):
    path = re.search(r'href="(/page/[^"]+\.css)"', client.get("/").text)[1]
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert plain.text == packed.text
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2


@pytest.mark.parametrize("path", ["/page/x/js/app.js", "/page/../errors.py", "/page/%2e%2e/pages.py", "/page/"])
def test_nothing_but_files_of_the_page_is_served(client, path):
    assert client.get(path).status_code == 404


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    document = (pages.PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", document)
    for path in [pages.PAGE / "index.html", pages.PAGE / "style.css", *SCRIPTS]:
        addresses = set(re.findall(r"https?://[^\"'\s)]+", path.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
    for path in SCRIPTS:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text())


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.stem)
def test_every_text_is_there_in_every_language_with_what_is_put_in(path):
    texts = json.loads(path.read_text(encoding="utf-8"))
    wanted = {key: text for key, text in ENGLISH.items() if not key.endswith("_one") and not HELPS_AND_NAMES.match(key)}
    assert not wanted.keys() - texts.keys()
    assert not {key for key in texts.keys() - ENGLISH.keys() if not HELPS_AND_NAMES.match(key)}
    for key in wanted:
        fields = [{name for _, name, _, _ in Formatter().parse(each[key]) if name} for each in (texts, ENGLISH)]
        assert fields[0] == fields[1], key
        assert texts[key].strip()


def test_every_text_that_is_used_is_there():
    used = set(re.findall(r'data-t(?:-aria-label)?="([^"]+)"', (pages.PAGE / "index.html").read_text(encoding="utf-8")))
    for path in SCRIPTS:
        used |= set(re.findall(r'\bt\("([\w.]+)"', path.read_text(encoding="utf-8")))
    assert not {key for key in used if key not in ENGLISH and f"{key}_other" not in ENGLISH}


def test_packed_content_does_not_change_from_start_to_start():
    file = next(file for path, file in pages.load_page().items() if path.endswith("style.css"))
    assert gzip.compress(file.content, 9, mtime=0) == file.packed


def test_code_of_others_is_there_with_its_licence():
    assert "Redistribution and use" in (pages.PAGE / "vendor/smol-toml/LICENSE").read_text(encoding="utf-8")


def test_every_error_is_told_in_every_language():
    def kinds(of: type[FaceFusionError]) -> set[str]:
        return {of.code}.union(*(kinds(one) for one in of.__subclasses__() if one.__module__ == errors.__name__))

    known = kinds(FaceFusionError)
    for file in LOCALES:
        words = json.loads(file.read_text(encoding="utf-8"))
        if file.stem != "en":  # the service itself speaks English
            assert not {code for code in known if not words.get(f"problem.{code}")}, file.name
        assert not {key for key in words if key.startswith("problem.") and not words[key]}
