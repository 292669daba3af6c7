"""Outputs compared without their manifests: these have a time, an id and salts of their own in every file."""

from __future__ import annotations

from pathlib import Path

from facefusion.policy.verifying import unsigned_hash


def content_of(path: Path) -> str:
    """SHA-256 of an output as it was before it was signed; of a file that is not signed that of its bytes.

    Outputs of one request have the same, however they were made: in one process or many, resumed, on a cluster.

    Parameters
    ----------
    path
        Photo or clip.

    Raises
    ------
    ValueError
        When the file was changed since it was signed.
    """
    return unsigned_hash(path)
