"""What a camera shows with another face, as raw RGB on standard output:

    python webcam.py FACE.jpg | ffplay -f rawvideo -pixel_format rgb24 -video_size 640x480 -framerate 25 -

FACE.jpg, then the camera (a number, a device, a name; or a clip, which stands in for one), then how many frames.
The size is told on standard error. These frames are not signed: `facefusion live` records, and signs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from facefusion import Stream, Swapper
from facefusion.media.camera import Camera
from facefusion.media.reader import ClipReader
from facefusion.pipeline.live import Newest
from facefusion.types.frame import Frame


def frames_of(name: str) -> Iterator[Frame]:
    """Frames of a camera, of which only the newest counts, or of a clip."""
    if Path(name).is_file():
        yield from ClipReader(Path(name))
        return
    with Camera(name) as camera, Newest(camera) as newest:
        yield from newest


def main(face: str, name: str, count: int, out: BinaryIO) -> int:
    """Write so many frames; how many were written."""
    written = 0
    with Stream(Swapper(face)) as stream:
        for frame in frames_of(name):
            new = stream.change(frame.pixels, frame.time_s)
            if new is None:
                continue
            if not written:
                print(f"{new.shape[1]}x{new.shape[0]}", file=sys.stderr)
            out.write(new.tobytes())
            out.flush()
            written += 1
            if written == count:
                break
    return written


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        face, name, count = [*sys.argv[1:4], *("", "0", "0")[len(sys.argv[1:4]) :]]
        main(face, name, int(count), sys.stdout.buffer)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()
