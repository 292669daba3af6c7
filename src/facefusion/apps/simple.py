"""Two calls for scripts: set options, then process. A thin layer over an explicit `Recipe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from facefusion.recipe import Recipe, build_recipe

if TYPE_CHECKING:
    from facefusion.pipeline.runner import Outcome

_options: dict[str, Any] = {}


def set_options(options: Mapping[str, Any]) -> None:
    """Replace the options of this script.

    Parameters
    ----------
    options
        Fields of `Recipe`; ``frame_processors`` is understood as ``processors``. They are checked at once.

    Raises
    ------
    UnknownOption, RecipeError
    """
    build_recipe(options)
    checked = dict(options)
    _options.clear()
    _options.update(checked)


def get_options() -> Recipe:
    """The recipe that `set_options` made."""
    return build_recipe(_options)


def process_video() -> Outcome:
    """Process the target of `set_options`, a clip or a photo, with a progress bar on a terminal or in a notebook.

    Returns
    -------
    What was done, as measured.

    Raises
    ------
    FaceFusionError
        With nothing written.
    """
    from facefusion.apps.library import run
    from facefusion.apps.progress import ProgressBar
    from facefusion.pipeline.runner import own_errors

    with ProgressBar() as bar, own_errors(bar) as told:
        return run(get_options(), told)


def process_image() -> Outcome:
    """The same as `process_video`, for scripts that work on photos."""
    return process_video()
