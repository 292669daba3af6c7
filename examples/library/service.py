"""A handler for FastAPI that hides everybody in a photo: uvicorn service:app

    curl --data-binary @photo.jpg http://127.0.0.1:8000/hide -o hidden.png

It is the smallest service there can be, without keys and limits; `facefusion serve` has both.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from facefusion import Anonymiser, FaceFusionError

MAX_BYTES = 20_000_000
app = FastAPI(title="Hide everybody")
anonymiser = Anonymiser(face_anonymiser_model="blur")  # once: models stay loaded, and threads may share it


@app.post("/hide", response_class=Response)
async def hide(request: Request) -> Response:
    """The photo in the body, as a PNG in which nobody is to be recognised; signed."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BYTES:
            raise HTTPException(413, "The photo is too large.")
    try:
        made, count = await run_in_threadpool(_hide, bytes(content))
    except FaceFusionError as error:
        raise HTTPException(422, {"code": error.code, "message": error.message, "hint": error.hint}) from error
    return Response(made, media_type="image/png", headers={"X-Faces": str(count)})


def _hide(content: bytes) -> tuple[bytes, int]:
    changed = anonymiser.change(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hidden.png"
        changed.save(path)
        return path.read_bytes(), len(changed.changed)
