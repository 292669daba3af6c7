"""Put one face on every photo of a folder: python swap_folder.py FACE.jpg PHOTOS OUT

Photos in which nobody is found are left out and named. Outputs are signed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from facefusion import FaceFusionError, Swapper

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".avif", ".tif", ".tiff", ".bmp"}


def main(face: str, photos: str, output: str) -> int:
    """Change all photos; how many could not be."""
    paths = sorted(path for path in Path(photos).iterdir() if path.suffix.lower() in ENDINGS)
    Path(output).mkdir(parents=True, exist_ok=True)
    left_out = 0
    with Swapper(face, faces="all") as swapper:
        for path in paths:
            try:
                changed = swapper.change(path)
            except FaceFusionError as error:
                print(f"{path.name}: {error}", file=sys.stderr)
                left_out += 1
                continue
            if not changed.is_changed:
                print(f"{path.name}: nobody was found", file=sys.stderr)
                left_out += 1
                continue
            for note in changed.save(Path(output) / path.name):
                print(f"{path.name}: {note}", file=sys.stderr)
            print(f"{path.name}: {len(changed.changed)} of {len(changed.faces)} changed")
    return left_out


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(1 if main(*sys.argv[1:]) else 0)
