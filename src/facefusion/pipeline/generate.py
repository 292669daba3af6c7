"""Targets that a processor makes itself, span by span; from then on they are clips like any other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import cast

from facefusion.errors import FaceFusionError, ProcessorRefused, own_error
from facefusion.media.generated import write_generated
from facefusion.media.segments import SUFFIX, Span
from facefusion.pipeline.cast import Looker, build_processors, gather_sources
from facefusion.pipeline.inputs import Shelf
from facefusion.pipeline.plan import Plan
from facefusion.plugins.protocols import FrameSource
from facefusion.types.frame import SourceInfo


def build_source(plan: Plan, shelf: Shelf | None = None) -> FrameSource:
    """The processor that makes the frames of a plan, with the sources taken in.

    Raises
    ------
    ProcessorRefused
        When it does not say what it is going to make.
    FaceFusionError
    """
    step, recipe = plan.resolved.generator, plan.recipe
    assert step is not None
    looker = Looker(plan.resolved, shelf)
    sources = gather_sources(recipe.source_paths, step.requirements, looker, plan.found.sources)
    (processor,) = build_processors(recipe, [step], sources)
    source = cast(FrameSource, processor)
    try:
        info = source.info
    except FaceFusionError:
        raise
    except Exception as error:  # code of others
        raise ProcessorRefused(
            f"Processor '{step.processor}' does not say what it is going to make: {own_error(error).message}",
            "Mend it; 'facefusion plugins check' tells more.",
        ) from error
    if not isinstance(info, SourceInfo):
        raise ProcessorRefused(
            f"Processor '{step.processor}' says {info!r} of what it is going to make.", "It has to be a SourceInfo."
        )
    return source


def generate_spans(
    plan: Plan,
    source: FrameSource,
    spans: Sequence[Span],
    numbers: range,
    folder: Path,
    on_frame: Callable[[int], None],
) -> Generator[tuple[int, Path]]:
    """Make consecutive spans, each into a file of its own.

    Parameters
    ----------
    plan, source
        What is to be done, and who makes it.
    spans, numbers
        All spans, and which of them.
    folder
        Where files go.
    on_frame
        Called after each frame with their number so far.
    """
    step = plan.resolved.generator
    assert step is not None
    done = 0
    for number in numbers:
        start = spans[number].start or 0
        stop = spans[number].stop or source.info.frame_count
        path = folder / f"{number:05d}{SUFFIX}"
        before = done

        def count(own: int, before: int = before) -> None:
            on_frame(before + own)

        write_generated(path, source.read(start, stop), source.info, stop - start, step.processor, count)
        done += stop - start
        yield number, path
