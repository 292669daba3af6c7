"""Folders that mattes and layers are written to, picture by picture: never over what is somebody else's.

An index in the folder says which pictures an earlier run wrote, as one does for numbered outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from facefusion.errors import MediaUnreadable, OutputRefused
from facefusion.media.border import writing
from facefusion.media.files import Named, place_of
from facefusion.media.image import FORMATS
from facefusion.media.layers import is_sequence
from facefusion.media.sequence import index_of, is_index, listed, names_listed, save_index
from facefusion.wording import counted

_PATTERN = "%08d.png"


def index_in(folder: Path) -> Path:
    """The index of a folder of mattes or layers."""
    return index_of(folder / _PATTERN)


def check_layer_folder(what: str, folder: Path, beside: Sequence[Named] = ()) -> None:
    """Refuse a folder that holds pictures which no earlier matte or layer left there.

    Parameters
    ----------
    what
        What is to be written, such as ``matte``.
    folder
        Where; it need not be there.
    beside
        Files of the same run: no picture and no index of another sequence may be in the folder, whoever wrote it.

    Raises
    ------
    OutputRefused
        Naming the first of the pictures.
    """
    index = index_in(folder)
    folders: dict[Path, tuple[object, ...]] = {}
    for other, path in beside:
        if path != index and (path.suffix.lower() in FORMATS or is_index(path)):
            if path.parent not in folders:
                folders[path.parent] = place_of(path.parent)
            if folders[path.parent] == place_of(folder):
                raise OutputRefused(
                    f"The folder {folder} of the {what} holds the {other} {path.name} too.",
                    "Name a folder that is new or empty.",
                )
    if not folder.is_dir():
        return
    try:
        known = {name for name, _ in listed(index)} if index.exists() else set()
        strange = sorted(
            path.name for path in folder.iterdir() if path.suffix.lower() in FORMATS and path.name not in known
        )
    except MediaUnreadable as error:
        raise OutputRefused(error.message, error.hint) from error
    except OSError as error:
        raise OutputRefused(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if strange:
        raise OutputRefused(
            f"The folder {folder} holds {counted(len(strange), 'picture')} that no earlier {what} left there: "
            f"{strange[0]}{' and others' if len(strange) > 1 else ''}.",
            "Name a folder that is new or empty.",
        )


def stand_in_of(wanted: Path) -> Path:
    """A file beside which a matte or layer is made: a folder of pictures may be there already."""
    return wanted.with_name(f"{wanted.name}.png") if is_sequence(wanted) else wanted


def pairs_of_layer(made: Path, wanted: Path) -> list[tuple[Path, Path]]:
    """Files that were made of a matte or layer, each with the name that it gets; behind pictures their new index."""
    if not is_sequence(wanted):
        return [(made, wanted)]
    with writing(wanted):
        wanted.mkdir(parents=True, exist_ok=True)
        pictures = sorted(made.iterdir())
        told = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in pictures]
        save_index(index_in(made), _PATTERN, [{"name": name, "sha256": sha256} for name, sha256 in told])
    return [*((path, wanted / path.name) for path in pictures), (index_in(made), index_in(wanted))]


def left_by_earlier(wanted: Path) -> set[Path]:
    """Pictures in a folder that an earlier matte or layer left there, and nobody has changed since."""
    if not is_sequence(wanted):
        return set()
    return {wanted / name for name in names_listed(index_in(wanted))}
