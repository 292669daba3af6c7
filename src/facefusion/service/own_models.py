"""Models of one's own: an entry made of a graph, and a folder of them looked through before somebody relies on it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facefusion.documents import reason_of
from facefusion.errors import FaceFusionError, OutputRefused, RecipeError, SpecError
from facefusion.imaging.templates import TEMPLATES
from facefusion.media.files import check_outputs, translate_os_error
from facefusion.models.catalog import built_in_models, clash_of, entries_in
from facefusion.models.spec import ModelSpec
from facefusion.plugins.registry import FAMILIES, find_entry
from facefusion.recipe import Recipe
from facefusion.types.paths import PathLike, as_path
from facefusion.writing import save_bytes

State = Literal["holds", "wrong", "doubtful", "not run"]
Verdict = Literal["ready", "wrong", "not allowed", "no entry"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what
        ``entry``, ``family``, ``template``, ``files``, ``licence``, ``graph`` or ``run``.
    state
        ``doubtful`` lets it be used; ``not run`` says that something before it has to be mended first.
    said
        A sentence.
    """

    what: str
    state: State
    said: str


@dataclass(frozen=True, slots=True)
class ModelChecked:
    """What came of checking a model of a folder.

    Attributes
    ----------
    file
        Name of its entry, or of a file without one.
    id
        Of the model; empty where the entry does not say it.
    verdict
        ``not allowed`` is ready but for its licence.
    findings
        In the order in which they were looked at.
    """

    file: str
    id: str
    verdict: Verdict
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FolderChecked:
    """How many models of a folder are what."""

    folder: str
    ready: int
    wrong: int
    not_allowed: int
    no_entry: int

    @classmethod
    def of(cls, folder: PathLike, found: Sequence[ModelChecked]) -> FolderChecked:
        """Counted."""
        folder = as_path(folder)
        verdicts: tuple[Verdict, ...] = ("ready", "wrong", "not allowed", "no entry")
        return cls(str(folder), *(sum(one.verdict == verdict for one in found) for verdict in verdicts))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ModelDrafted:
    """An entry that was written.

    Attributes
    ----------
    path
        Where.
    id, family, capability
        Of the model.
    like
        The model of the catalogue that was gone by.
    guessed, left, doubts
        What was guessed, what is to be filled in, and what does not fit the family; sentences.
    """

    path: str
    id: str
    family: str
    capability: str
    like: str
    guessed: tuple[str, ...]
    left: tuple[str, ...]
    doubts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def draft_entry(
    graph: PathLike,
    family: str = "",
    model_id: str = "",
    said: dict[str, str] | None = None,
    is_replacing: bool = False,
) -> ModelDrafted:
    """Write an entry for a graph beside it.

    Parameters
    ----------
    graph
        An ONNX file.
    family
        Which engine runs it; empty where that is to be told from the graph.
    model_id
        Its id; empty takes the file's name.
    said
        What its maker says: ``licence``, ``licence_source``, ``commercial``, ``vendor``, ``template``.
    is_replacing
        Whether an entry that is there already is written over.

    Raises
    ------
    ModelMissing, ModelMismatch, SpecError, RecipeError, OutputRefused
    """
    graph = as_path(graph)
    from facefusion.models.drafting import draft

    template = (said or {}).get("template", "")
    if template and template not in TEMPLATES:
        raise RecipeError(f"There is no template '{template}'.", f"Known are {', '.join(TEMPLATES)}.")
    made = draft(graph, family, model_id, said)
    path = graph.with_suffix(".toml")
    check_outputs([("entry", path)], [("graph", graph)])
    if path.exists() and not is_replacing:
        raise OutputRefused(f"The entry {path} is there already.", "Add --force to write it anew.")
    try:
        save_bytes(path, made.text.encode())
    except OSError as error:
        raise translate_os_error(error, path) from error
    return ModelDrafted(
        str(path), made.id, made.family, made.capability, made.like, made.guessed, made.left, made.doubts
    )


def check_folder(folder: PathLike, recipe: Recipe) -> Iterator[ModelChecked]:
    """Look through every model of a folder, one after the other.

    Parameters
    ----------
    folder
        With entries and the files beside them.
    recipe
        Its licences and execution options; other models that one of the folder needs are looked for in its places too.

    Raises
    ------
    RecipeError
        When there is no such folder, or nothing in it.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise RecipeError(f"There is no folder {folder}.", "Name the folder that the entries (.toml) are in.")
    found = list(entries_in(folder))
    named = {file.name for _, spec in found if isinstance(spec, ModelSpec) for file in spec.files}
    loose = [path for path in sorted(folder.glob("*.onnx")) if path.name not in named]
    if not found and not loose:
        raise RecipeError(
            f"There are no models in {folder}.", "An entry is a .toml beside its graph: facefusion models new x.onnx."
        )
    return _check_all(found, loose, recipe.with_options(models_paths=(str(folder), *recipe.models_paths)))


def _check_all(
    found: Sequence[tuple[Path, ModelSpec | SpecError]], loose: Sequence[Path], recipe: Recipe
) -> Iterator[ModelChecked]:
    seen: list[str] = []
    for path, spec in found:
        if isinstance(spec, SpecError):
            yield ModelChecked(path.name, "", "wrong", (Finding("entry", "wrong", str(spec)),))
            continue
        clash = clash_of(spec, seen)
        seen.append(spec.id)
        if clash:
            said = f"The id '{spec.id}' cannot be used: {clash}. Give it another id."
            yield ModelChecked(path.name, spec.id, "wrong", (Finding("entry", "wrong", said),))
            continue
        findings = tuple(_findings(spec, recipe))
        states = {one.state for one in findings if one.what != "licence"}
        verdict: Verdict = "wrong" if "wrong" in states else "ready"
        if verdict == "ready" and any(one.what == "licence" and one.state == "wrong" for one in findings):
            verdict = "not allowed"
        yield ModelChecked(path.name, spec.id, verdict, findings)
    for path in loose:
        said = f"No entry names it, so nothing finds it. Make one: facefusion models new {path}"
        yield ModelChecked(path.name, "", "no entry", (Finding("entry", "wrong", said),))


def _findings(spec: ModelSpec, recipe: Recipe) -> Iterator[Finding]:
    yield Finding("entry", "holds", f"{spec.key}, {spec.capability} of the family {spec.family}.")
    found = [_family(spec), _template(spec), _files(spec, recipe)]
    yield from found
    licence = _licence(spec, recipe)
    yield licence
    if found[2].state == "wrong":
        yield Finding("graph", "not run", "Its files have to be mended first.")
        yield Finding("run", "not run", "Its files have to be mended first.")
        return
    # Looking at a graph is not using it: that is asked again before it runs for anybody.
    graph = _told("graph", partial(_graph, spec, recipe))
    yield graph
    if any(one.state == "wrong" for one in (*found, graph)):
        yield Finding("run", "not run", "What is wrong above has to be mended first.")
    elif licence.state == "wrong":
        yield Finding("run", "not run", "Its licence does not let it run here.")
    else:
        yield _told("run", partial(_run, spec, recipe))


def _told(what: str, look: Callable[[], Finding]) -> Finding:
    """What a look says, or what it raises."""
    from facefusion.testing.conformance import Nonconforming

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return look()
    except Nonconforming as error:
        return Finding(what, "wrong", f"{reason_of(error)}.")
    except FaceFusionError as error:
        return Finding(what, "wrong", str(error))
    except Exception as error:  # an engine of another package, or a graph that gives what nobody expected
        return Finding(what, "wrong", f"Its engine fails with {type(error).__name__}: {reason_of(error)}.")


_NO_ENGINE = ("embedding_converter",)
"""Capabilities of models that other models open; they have no engine of their own."""


def _family(spec: ModelSpec) -> Finding:
    from facefusion.declaration import processor_names, suggest
    from facefusion.installed import list_entries
    from facefusion.plugins.listing import engine_groups

    known = {*engine_groups(), *processor_names(), *_NO_ENGINE}
    if spec.capability not in known:
        hint = suggest(spec.capability, sorted(known)) or f"Known are {', '.join(sorted(known))}."
        return Finding("family", "wrong", f"There is no capability '{spec.capability}'. {hint}")
    if spec.capability in _NO_ENGINE:
        return Finding("family", "holds", "Other models open it.")
    if find_entry(FAMILIES, spec.family) is None:
        names = sorted(entry.name for entry in list_entries(FAMILIES))
        hint = suggest(spec.family, names) or f"Installed are {', '.join(names)}."
        return Finding("family", "wrong", f"No installed package runs the family '{spec.family}'. {hint}")
    return Finding("family", "holds", f"Run by the engine of the family {spec.family}.")


def _template(spec: ModelSpec) -> Finding:
    template = spec.preprocess.template
    if template and template not in TEMPLATES:
        said = f"There is no template '{template}'. Known are {', '.join(TEMPLATES)}."
        return Finding("template", "wrong", said)
    usual = {one.preprocess.template for one in built_in_models() if one.family == spec.family}
    if not template and usual and "" not in usual:
        said = f"Others of the family name one: {', '.join(sorted(usual))}."
        return Finding("template", "wrong", said)
    return Finding("template", "holds", f"{template}, {spec.preprocess.size} px." if template else "None is needed.")


def _files(spec: ModelSpec, recipe: Recipe) -> Finding:
    from facefusion.plugins.protocols import EngineContext

    store = EngineContext(recipe).store

    def look() -> Finding:
        hashes = store.verify(spec)
        unsaid = next((file.name for file in spec.files if not file.sha256), None)
        if unsaid is None:
            return Finding("files", "holds", "There, and SHA-256 as the entry says.")
        said = f"There; the entry names no SHA-256 ({unsaid} is {hashes[unsaid]}), so it is pinned when it first runs."
        return Finding("files", "doubtful", said)

    return _told("files", look)


def _licence(spec: ModelSpec, recipe: Recipe) -> Finding:
    from facefusion.models.licences import check_licence

    try:
        check_licence(spec, recipe.licences)
    except FaceFusionError as error:
        if spec.commercial == "unclear" and not spec.licence_source:
            said = f"The entry does not say it ({spec.licence}). Fill in licence, licence_source and commercial."
            return Finding("licence", "wrong", said)
        return Finding("licence", "wrong", str(error))
    if not spec.licence_source:
        return Finding("licence", "doubtful", f"{spec.licence}, but the entry does not say where that is stated.")
    return Finding("licence", "holds", f"{spec.licence} ({spec.licence_source}).")


def _graph(spec: ModelSpec, recipe: Recipe) -> Finding:
    from facefusion.models.session import Session
    from facefusion.models.store import ModelStore

    content = ModelStore(recipe.models_paths, "any").read(spec)
    session = Session(spec, content, recipe.execution_providers)
    session.warm_up()
    named = ", ".join(session.inputs[name] for name in spec.inputs)
    said = f"Loads and answers; takes {named or 'what it likes'}"
    unnamed = [name for name in session.inputs.values() if name not in {session.inputs[key] for key in spec.inputs}]
    if extra := list(dict.fromkeys(unnamed)):
        said += f", and {', '.join(extra)}, which the entry does not name"
    return Finding("graph", "holds", f"{said}; gives {', '.join(session.outputs.values()) or 'nothing'}.")


def _run(spec: ModelSpec, recipe: Recipe) -> Finding:
    """Have its engine do what it is for."""
    from facefusion.declaration import Step, processor_names
    from facefusion.plugins.protocols import EngineContext
    from facefusion.plugins.registry import build_engine, build_processor
    from facefusion.testing.conformance import check_engine, check_step

    if spec.capability in _NO_ENGINE:
        return Finding("run", "holds", "It answers; models that need it are checked with it.")
    context = EngineContext(recipe)
    if spec.capability in processor_names():
        check_step(Step(spec.capability, model=spec.id), lambda step: build_processor(step, context))
        return Finding("run", "holds", "It changes faces as its contract says.")
    engine = build_engine(spec.capability, spec.id, context)
    check_engine(spec.capability, engine)
    return _LOOKS.get(spec.capability, _contract_holds)(engine)


def _contract_holds(_: Any) -> Finding:
    return Finding("run", "holds", "It answers as its contract says.")


def _find_somebody(engine: Any) -> Finding:
    """A detector has to see people who do not exist, in the pictures that ship with the package."""
    from facefusion.media.image import read_photo
    from facefusion.testing.fakes import sample_path

    pictures = [read_photo(sample_path(name)).pixels for name in ("source.jpg", "target.jpg")]
    counts = [len(found) for found in engine.detect(pictures)]
    if all(counts):
        return Finding("run", "holds", f"It finds somebody in both sample pictures ({counts[0]} and {counts[1]}).")
    said = "It answers, but finds nobody in a sample picture with a face; colour, mean and std may be others."
    return Finding("run", "doubtful", said)


def _know_again(engine: Any) -> Finding:
    """A recogniser has to know somebody again in worse light, better than somebody else."""
    from facefusion.pipeline.cast import build_analyser, read_faces
    from facefusion.testing.fakes import sample_path

    paths = [sample_path(name) for name in ("source.jpg", "target.jpg")]
    one, other = read_faces(paths, build_analyser(Recipe(), has_identity=False))
    dark = (one.pixels.astype(np.float32) * 0.6 + 12).astype(np.uint8)
    points = [one.face.five_points, one.face.five_points, other.face.five_points]
    vectors = engine.identify([one.pixels, dark, other.pixels], points)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    again, else_ = float(unit[0] @ unit[1]), float(unit[0] @ unit[2])
    said = f"The same face darker looks {again:.2f} like itself, somebody else {else_:.2f}."
    if again > engine.same_person_cosine > else_:
        return Finding("run", "holds", said)
    way = f"same_person_cosine is {engine.same_person_cosine:g}; template, colour, mean or std may be others."
    return Finding("run", "doubtful", f"{said} {way}")


_LOOKS: dict[str, Callable[[Any], Finding]] = {"face_detector": _find_somebody, "face_identifier": _know_again}
