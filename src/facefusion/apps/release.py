"""``facefusion verify --release DIR [--trust KEY]``: whether a release is what was released."""

from __future__ import annotations

from pathlib import Path

from facefusion.apps.endings import EXIT_OK
from facefusion.apps.show import Show
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


def run_release(folder: Path, trusted: Path | None, show: Show) -> int:
    """Check a release, and say what it is.

    Raises
    ------
    ReleaseRefused
    """
    found = verify_release(folder, [] if trusted is None else [trusted])
    show.answer("release", found, text_of(found))
    return EXIT_OK
