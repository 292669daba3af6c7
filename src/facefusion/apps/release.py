"""``python -m facefusion.apps.release DIR [--trust KEY …] [--json]``: whether a release is what was released."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from facefusion.apps.console import say
from facefusion.apps.endings import EXIT_INPUT, EXIT_OK
from facefusion.errors import ReleaseRefused
from facefusion.service.releases import Release, verify_release
from facefusion.wording import counted


def text_of(release: Release) -> str:
    """What is said of a release."""
    lines = [f"{counted(len(release.files), 'file')}, built from {release.source} (as its maker says)."]
    if release.state == "trusted":
        lines.append(f"Trusted: signed by {release.key}.")
    else:
        lines.append(f"Whole, and signed by {release.key}; whose key that is, only --trust can tell.")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Check a release, and say what it is."""
    parser = argparse.ArgumentParser(prog="facefusion.apps.release", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--trust", nargs="+", type=Path, default=[], metavar="KEY", help="public keys that may sign")
    parser.add_argument("--json", action="store_true", help="write one JSON event to standard output")
    asked = parser.parse_args(words)
    try:
        found = verify_release(asked.folder, asked.trust)
    except ReleaseRefused as error:
        told = {"event": "error", "code": error.code, "message": error.message, "hint": error.hint}
        say(json.dumps(told) if asked.json else f"facefusion: {error.message}\n  {error.hint}", is_error=not asked.json)
        return EXIT_INPUT
    say(json.dumps({"event": "release", **found.as_dict()}) if asked.json else text_of(found))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
