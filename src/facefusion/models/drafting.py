"""An entry for somebody's own model, made of what its graph says and of what others of its family have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnxruntime

from facefusion.documents import reason_of
from facefusion.errors import ModelMismatch, ModelMissing, RecipeError, check_memory
from facefusion.models.catalog import built_in_models
from facefusion.models.spec import PLAIN_NAME, ModelSpec, parse_spec
from facefusion.models.store import sha256_of

Shape = tuple[int | None, ...]
_PLACE = "#"


@dataclass(frozen=True, slots=True)
class GraphView:
    """What a graph says of itself.

    Attributes
    ----------
    inputs, outputs
        Shapes by name in the graph's order; None where any length will do.
    is_half
        Whether its inputs are of 16 bits.
    """

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    is_half: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that is not written yet.

    Attributes
    ----------
    id, family, capability
        Of the model.
    text
        TOML, which the catalogue's own reader has read.
    like
        The model of the catalogue whose preparation of crops was taken over.
    guessed
        What the graph does not say, in sentences.
    left
        What is still to be filled in, in sentences.
    doubts
        What does not fit the family, in sentences.
    """

    id: str
    family: str
    capability: str
    text: str
    like: str
    guessed: tuple[str, ...]
    left: tuple[str, ...]
    doubts: tuple[str, ...]


def look_at(path: Path) -> GraphView:
    """Inputs and outputs of a graph.

    Raises
    ------
    ModelMissing, ModelMismatch
    """
    if not path.is_file():
        raise ModelMissing(f"There is no file {path}.", "Name a graph (.onnx).")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        ins, outs = session.get_inputs(), session.get_outputs()
    except Exception as error:  # ONNX Runtime raises its own untyped errors
        check_memory(error, f"{path} could not be loaded")
        raise ModelMismatch(f"{path} is no graph that can be loaded: {reason_of(error)}.", "Export it anew.") from error

    def shapes(values: Sequence[Any]) -> dict[str, Shape]:
        return {value.name: tuple(n if isinstance(n, int) and n > 0 else None for n in value.shape) for value in values}

    return GraphView(shapes(ins), shapes(outs), any(value.type == "tensor(float16)" for value in ins))


def families() -> dict[str, str]:
    """Families that the catalogue has models of, with what they do."""
    return {spec.family: spec.capability for spec in built_in_models() if spec.family != "embedded"}


def draft(path: Path, family: str = "", model_id: str = "", said: Mapping[str, str] | None = None) -> Draft:
    """Make an entry of a graph.

    Parameters
    ----------
    path
        The graph.
    family
        Of the model; empty where it is to be told from the graph.
    model_id
        Its id; empty takes the file's name.
    said
        What its maker says of it: ``licence``, ``licence_source``, ``commercial``, ``vendor``, ``template``.

    Raises
    ------
    ModelMissing, ModelMismatch
    RecipeError
        When the family is not known, or cannot be told, or the file's name cannot stand in an entry.
    """
    graph = look_at(path)
    if not PLAIN_NAME.fullmatch(path.name):
        raise RecipeError(
            f"The name {path.name!r} cannot stand in an entry.", "Rename the file: letters, digits, spaces, _ - . only."
        )
    known = _known(graph, family, path)
    like = max(known, key=lambda spec: _likeness(spec, graph))
    name = _id_of(path, model_id)
    told = {key: value for key, value in (said or {}).items() if value}
    inputs, doubts = _inputs(like, graph)
    _check_outputs(known, graph)
    outputs, more = _outputs(like, graph)
    doubts += more
    guessed: list[str] = [] if family else [f"The family {like.family}, by the shapes of inputs and outputs."]
    text = _text(path, name, like, known, (inputs, outputs), graph, told, guessed)
    spec = parse_spec(text, str(path.with_suffix(".toml")), "local", path.parent)
    left = [
        why
        for key, why in (
            ("licence", "licence: the weights' licence (an SPDX name where there is one)."),
            ("licence_source", "licence_source: where that is stated."),
            ("commercial", "commercial: yes or no; until then the model runs with --licences any alone."),
            ("vendor", "vendor: who made it."),
        )
        if key not in told
    ]
    return Draft(spec.id, spec.family, spec.capability, text, like.id, tuple(guessed), tuple(left), tuple(doubts))


def _known(graph: GraphView, family: str, path: Path) -> list[ModelSpec]:
    """Models of the family that the catalogue has."""
    every = [spec for spec in built_in_models() if spec.family != "embedded"]
    if family:
        known = [spec for spec in every if spec.family == family]
        if not known:
            from facefusion.declaration import suggest

            hint = suggest(family, list(families())) or f"Known are {', '.join(sorted(families()))}."
            raise RecipeError(f"There is no family '{family}' to go by.", hint)
        return known
    fitting = sorted({spec.family for spec in every if _fits(spec, graph)})
    if len(fitting) != 1:
        listed = ", ".join(f"{name} ({families()[name]})" for name in fitting or sorted(families()))
        why = "fits several families" if fitting else "looks like no family that is known"
        raise RecipeError(f"The graph {path.name} {why}.", f"Say which with --family: {listed}.")
    return [spec for spec in every if spec.family == fitting[0]]


def _fits(spec: ModelSpec, graph: GraphView) -> bool:
    """Whether a graph could be one of the family, by what it takes and gives."""
    pairs = ((spec.inputs, graph.inputs), (spec.outputs, graph.outputs))
    return all(
        len(wanted) <= len(found)
        and all(
            not shape or _same_kind(shape, theirs)
            for shape, theirs in zip(wanted.values(), found.values(), strict=False)
        )
        for wanted, found in pairs
    ) and len(spec.outputs) == len(graph.outputs)


def _same_kind(wanted: Shape, found: Shape) -> bool:
    """Whether two shapes are of one kind: as many axes, and channels where they are."""
    return len(wanted) == len(found) and all(
        a is None or b is None or a == b or min(a, b) > 32 for a, b in zip(wanted, found, strict=True)
    )


def _likeness(spec: ModelSpec, graph: GraphView) -> tuple[int, int]:
    """How near a model of the catalogue is; of two that are as near the first one counts."""
    ours = [*spec.inputs.values(), *spec.outputs.values()]
    theirs = [*graph.inputs.values(), *graph.outputs.values()]
    same = sum(a == b for one, other in zip(ours, theirs, strict=False) for a, b in zip(one, other, strict=False))
    return same, -abs(len(ours) - len(theirs))


def _id_of(path: Path, model_id: str) -> str:
    name = model_id or re.sub(r"[^A-Za-z0-9_.\-]+", "_", path.stem).lstrip(".-") or "my_model"
    if any(spec.id == name for spec in built_in_models()):
        raise RecipeError(
            f"'{name}' is the name of a built-in model.",
            f"Where {path.name} is that model it needs no entry: name its folder with --models-path. Else give --id.",
        )
    return name


def _inputs(like: ModelSpec, graph: GraphView) -> tuple[dict[str, Shape], list[str]]:
    """Inputs in the order in which the family asks for them."""
    left, found, doubts = dict(graph.inputs), dict[str, Shape](), list[str]()
    for wanted, shape in like.inputs.items():
        if not wanted.startswith(_PLACE):  # asked for by this name
            if wanted in left:
                found[wanted] = left.pop(wanted)
            else:
                doubts.append(
                    f"The family {like.family} asks for the input '{wanted}', which the graph has not; rename it there."
                )
            continue
        fitting = [name for name, theirs in left.items() if not shape or _same_kind(shape, theirs)]
        name = next(iter(fitting or left), None)
        if name is None:
            doubts.append(f"The family {like.family} takes {len(like.inputs)} inputs; the graph has fewer.")
            continue
        if not fitting:
            doubts.append(
                f"The input '{name}' is {say_shape(left[name])}; others of the family take {say_shape(shape)}."
            )
        found[name] = left.pop(name)
    return {**found, **left}, doubts


def _check_outputs(known: Sequence[ModelSpec], graph: GraphView) -> None:
    """Refuse outputs of other kinds than any model of the family has: a picture is no embedding.

    Raises
    ------
    ModelMismatch
    """
    for number, (name, shape) in enumerate(graph.outputs.items()):
        shapes = [list(spec.outputs.values())[number] for spec in known if number < len(spec.outputs)]
        if shapes and all(wanted and len(wanted) != len(shape) for wanted in shapes):
            raise ModelMismatch(
                f"The output '{name}' is {say_shape(shape)}; models of the family {known[0].family} give "
                f"{say_shape(shapes[0])}.",
                "Name the family that it is of with --family.",
            )


def _outputs(like: ModelSpec, graph: GraphView) -> tuple[dict[str, Shape], list[str]]:
    """As many outputs as the family reads, in the graph's order."""
    count, there = len(like.outputs), list(graph.outputs.items())
    if len(there) < count:
        return dict(there), [f"The family {like.family} reads {count} outputs; the graph has {len(there)}."]
    return dict(there[:count]), []


def say_shape(shape: Shape) -> str:
    """A shape as people write it."""
    return " x ".join("?" if n is None else str(n) for n in shape) or "any shape"


def _text(
    path: Path,
    name: str,
    like: ModelSpec,
    known: Sequence[ModelSpec],
    sides: tuple[Mapping[str, Shape], Mapping[str, Shape]],
    graph: GraphView,
    told: Mapping[str, str],
    guessed: list[str],
) -> str:
    def guess(what: str, value: object) -> str:
        """A comment on a value that was taken over."""
        others = {_plain(spec, what) for spec in known}
        whose = "as all of the family have it" if len(others) == 1 else f"as {like.id} has it"
        guessed.append(f"{what}: {value}, {whose}.")
        return f"  # guessed: {whose}"

    prepared = like.preprocess
    size, is_told = _side(sides[0], like)
    template = told.get("template", prepared.template)
    rows = [
        f"# Made of {path.name} by 'facefusion models new'; see docs/models/index.md. Check it with:",
        "#   facefusion models check FOLDER",
        f"id = {json.dumps(name)}",
        'version = "1"',
        f"capability = {json.dumps(like.capability)}",
        f"family = {json.dumps(like.family)}" + ("" if not guessed else "  # guessed: by its inputs and outputs"),
        _row("licence", told, "not stated", "FILL IN: the licence of the weights, as SPDX writes it"),
        _row("licence_source", told, "", "FILL IN: where that is stated"),
        _row("commercial", told, "unclear", "FILL IN: yes or no; unclear runs with --licences any alone"),
        _row("vendor", told, "", "FILL IN: who made it"),
        f"year = {datetime.now(UTC).year}",
        f'precision = "{"fp16" if graph.is_half else "fp32"}"',
        "",
        "[[files]]",
        f"name = {json.dumps(path.name, ensure_ascii=False)}",
        f'sha256 = "{sha256_of(path)}"  # of the file as it is now',
        f"size_bytes = {path.stat().st_size}",
        "urls = []  # where 'facefusion models fetch' may look",
        "",
        "[preprocess]",
        f"template = {json.dumps(template)}" + ("" if "template" in told else guess("template", template or "none")),
        f"size = {size}" + ("  # as the graph says" if is_told else guess("size", size)),
        f'colour = "{prepared.colour}"' + guess("colour", prepared.colour),
        f"mean = {list(prepared.mean)}" + guess("mean", list(prepared.mean)),
        f"std = {list(prepared.std)}" + guess("std", list(prepared.std)),
    ]
    for heading, side in zip(("inputs", "outputs"), sides, strict=True):
        rows += ["", f"[{heading}]  # as the graph says; -1 is any length"]
        rows += [f"{json.dumps(key)} = {[-1 if n is None else n for n in shape]}" for key, shape in side.items()]
    options = {key: value for key, value in like.options.items() if key not in _OF_ONE}
    if options:
        rows += ["", "[options]  # what only the family understands"]
        rows += [f"{key} = {json.dumps(value)}{guess(key, value)}" for key, value in options.items()]
    return "\n".join(rows) + "\n"


_OF_ONE = ("contract", "same_person_cosine")
"""Options that are of one model and hold for no other: the space that its vectors lie in."""


def _plain(spec: ModelSpec, what: str) -> str:
    return str(getattr(spec.preprocess, what, spec.options.get(what)))


def _row(key: str, told: Mapping[str, str], default: str, comment: str) -> str:
    if key in told:
        return f"{key} = {json.dumps(told[key], ensure_ascii=False)}"
    return f"{key} = {json.dumps(default)}  # {comment}"


def _side(inputs: Mapping[str, Shape], like: ModelSpec) -> tuple[int, bool]:
    """Side of the crops in pixels, and whether the graph says it."""
    pictures = [shape for name, shape in inputs.items() if len(shape) == 4 and name != "source"]
    for shape in pictures:
        for across, down in ((shape[2], shape[3]), (shape[1], shape[2])):
            if across is not None and across == down:
                return across, True
    return like.preprocess.size, False
