"""Names of files as callers give them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from facefusion.errors import RecipeError

PathLike: TypeAlias = str | os.PathLike[str]
"""What every public function takes for the name of a file or folder."""


def as_path(path: object) -> Path:
    """A name as a path.

    Raises
    ------
    RecipeError
        Where it is none.
    """
    if isinstance(path, Path):
        return path
    if not isinstance(path, str | os.PathLike):
        raise RecipeError(f"A path is a str or a Path, not {type(path).__name__}.", "Give the name of a file.")
    return Path(os.fsdecode(os.fspath(path)))


def as_paths(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    """Names as paths; one alone is one.

    Raises
    ------
    RecipeError
        Where one is none.
    """
    return [as_path(paths)] if isinstance(paths, str | os.PathLike) else [as_path(path) for path in paths]
