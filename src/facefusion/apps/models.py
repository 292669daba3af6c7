"""``facefusion models``: prints what `facefusion.service.models` tells."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facefusion.apps.show import Show
from facefusion.errors import RecipeError
from facefusion.recipe import Recipe
from facefusion.service.models import (
    Advice,
    ModelList,
    Models,
    ModelView,
    PublicKey,
    Timed,
    Verified,
    advise,
    check_named,
)
from facefusion.service.own_models import FolderChecked, check_folder, draft_entry
from facefusion.wording import counted

_FAILED = 6


def run_models(
    action: str,
    names: list[str],
    recipe: Recipe,
    key: Path | None,
    trusted: list[str],
    show: Show,
    entry: Mapping[str, Any] | None = None,
) -> int:
    """Do what ``facefusion models ACTION`` asks for.

    Parameters
    ----------
    action
        What to do.
    names
        Model ids, or the folder or bundle.
    recipe
        For its models, licences and execution options.
    key
        Private key that signs bundles; None takes the user's own.
    trusted
        Public keys that bundles may be signed by.
    show
        Who tells.
    entry
        What is said of a model that gets an entry: ``family``, ``model_id``, ``is_replacing``, and what its maker says.

    Returns
    -------
    The exit code.

    Raises
    ------
    FaceFusionError
    """
    if action == "check":
        return _check(Path(_one(names, "the folder")), recipe, show)
    if action == "new":
        return _draft(Path(_one(names, "the graph (.onnx)")), dict(entry or {}), show)
    models = Models(recipe.models_paths, recipe.licences)
    if action == "list":
        _list(models, show)
    elif action == "key":
        text = models.public_key(key)
        show.answer("key", PublicKey(text), text)
    elif action == "import":
        return _import(models, _one(names, "the folder or bundle"), trusted, show)
    elif action == "export":
        _export(models, names, key, show)
    elif action == "verify":
        return tell_verified(models.verify(names), show)
    elif action == "bench":
        devices = recipe.execution_device_ids
        _bench(models.bench(names, recipe.execution_thread_count, devices[0]), show)
    else:
        check_named(names, action)
        if action == "show":
            for view in [models.show(name) for name in names]:
                show.answer("model", view, _card(view))
        elif action == "pin":
            for pinned in models.pin(names):
                show.answer("pinned", pinned, f"{pinned.id}: {pinned.file} is pinned to {pinned.sha256}")
        else:
            for fetched in models.fetch(names, show.transfer):
                text = f"{fetched.id}: {', '.join(fetched.files) or 'already here'}"
                ships = f"{fetched.id} ships with facefusion."
                show.answer("fetched", fetched, ships if fetched.is_embedded else text)
    return 0


def _one(names: list[str], what: str) -> str:
    if len(names) != 1:
        raise RecipeError(f"Name {what}, and nothing else.", "See facefusion models --help.")
    return names[0]


def _check(folder: Path, recipe: Recipe, show: Show) -> int:
    found = []
    for one in check_folder(folder, recipe):
        found.append(one)
        lines = [f"{one.id or one.file:<28}{one.verdict}" + (f" ({one.file})" if one.id else "")]
        lines += [f"  {finding.what:<10}{_MARKS[finding.state]:<10}{finding.said}" for finding in one.findings]
        show.answer("model", one, "\n".join(lines))
    counts = FolderChecked.of(folder, found)
    words = [
        f"{count} {word}"
        for count, word in (
            (counts.ready, "ready"), (counts.wrong, "wrong"), (counts.not_allowed, "not allowed by --licences"),
            (counts.no_entry, "without an entry"),
        )
        if count
    ]  # fmt: skip
    show.answer("checked", counts, f"{counted(len(found), 'model')}: {', '.join(words)}")
    return _FAILED if counts.ready < len(found) else 0


_MARKS = {"holds": "ok", "wrong": "WRONG", "doubtful": "doubtful", "not run": "not run"}


def _draft(graph: Path, entry: dict[str, Any], show: Show) -> int:
    family, model_id = entry.pop("family", ""), entry.pop("model_id", "")
    is_replacing = entry.pop("is_replacing", False)
    made = draft_entry(graph, family, model_id, entry, is_replacing)
    lines = [f"{made.path}: {made.id}, {made.capability} of the family {made.family}, as {made.like} is"]
    for heading, rows in (("guessed", made.guessed), ("fill in", made.left), ("DOES NOT FIT", made.doubts)):
        lines += [f"  {heading:<13}{row}" for row in rows]
    lines.append(f"  Then: facefusion models check {shlex.quote(str(graph.parent))}")
    show.answer("drafted", made, "\n".join(lines))
    return 0


def _list(models: Models, show: Show) -> None:
    found = models.list()
    lines = [f"{'model':<28}{'capability':<20}{'licence':<18}{'commercial':<12}{'state'}"]
    for m in found:
        refused = "" if m.is_allowed else f", refused by licences = {models.store.licences}"
        lines.append(f"{m.id:<28}{m.capability:<20}{m.licence:<18}{m.commercial:<12}{m.place}{refused}")
    show.answer("models", ModelList(found), "\n".join(lines))


def _card(view: ModelView) -> str:
    line = view.line
    lines = [
        f"{view.key}: {line.capability} of the family {line.family}, {view.vendor} {view.year}, {view.precision}",
        f"  licence    {line.licence} ({view.licence_source}); commercial use: {line.commercial}",
    ]
    for file in view.files:
        lines.append(f"  file       {file.name}, {file.size_bytes or '?'} bytes, {file.path or 'not here'}")
        lines.append(f"  sha256     {file.sha256 or 'not published; pinned when it is first loaded'}")
        lines += [f"  url        {url}" for url in file.urls]
    if view.size_px or view.template:
        lines.append(f"  crops      {view.template or 'no template'}, {view.size_px} px, {view.colour}")
        lines.append(f"             mean {view.mean}, std {view.std}")
    for kind, side in (("in", view.inputs), ("out", view.outputs)):
        for name, shape in side.items():
            sizes = " x ".join("?" if n is None else str(n) for n in shape) or "any shape"
            lines.append(f"  {kind:<4}{name:<8} {sizes}")
    lines += [f"  {key}: {value}" for key, value in [*view.options.items(), *view.figures.items()]]
    return "\n".join(lines)


def tell_verified(found: Iterable[Verified], show: Show) -> int:
    """Print what is known of models' files, one after the other.

    Returns
    -------
    The exit code.
    """
    code = 0
    for verified in found:
        code = _FAILED if verified.problem is not None else code
        show.answer("verified", verified, f"{verified.id:<28}{verified.state}")
    return code


def _import(models: Models, place: str, trusted: list[str], show: Show) -> int:
    taken = models.take_in(Path(place), trusted, show.transfer)
    for one in taken:
        known = f" ({one.id})" if one.id else ""
        text = f"{one.name:<28}imported, {one.licence}" if one.licence else f"{one.name:<36}{one.state}{known}"
        show.answer("imported", one, text)
    return _FAILED if any(one.state == "damaged" for one in taken) else 0


def _export(models: Models, names: list[str], key: Path | None, show: Show) -> None:
    if len(names) < 2:
        raise RecipeError("Name the bundle and the models.", "Use: facefusion models export BUNDLE ID [ID …].")
    made = models.export(Path(names[0]), names[1:], key, show.transfer)
    text = (
        f"{made.path}: {counted(len(made.ids), 'model')}, signed by {made.public_key}\n"
        f"  On the other machine: facefusion models import {Path(made.path).name} --trust {made.public_key}"
    )
    show.answer("exported", made, text)


def _bench(timed: Iterable[Timed], show: Show) -> None:
    measured = []
    for one in timed:
        lines = [f"{one.id:<28}{_name(t.provider, t.precision)}: {t.problem.message}" for t in one.timings if t.problem]
        known = [(_name(t.provider, t.precision), t.seconds) for t in one.timings if t.seconds is not None]
        if one.fastest is not None:
            text = ", ".join(f"{name} {seconds * 1000:.2f} ms" for name, seconds in known)
            lines.append(f"{one.id:<28}{text}; fastest: {_name(one.fastest.provider, one.fastest.precision)}")
        measured.append(one)
        show.answer("timed", one, "\n".join(lines))
    if (advice := advise(measured)) is not None:
        show.answer("advice", advice, words_of(advice))


def _name(provider: str, precision: str) -> str:
    return provider if precision == "model" else f"{provider} in half precision"


def words_of(advice: Advice) -> str:
    """Options that were fastest over all models together."""
    best = advice.best
    half = " --execution-precision half" if best.precision == "half" else ""
    others = ", ".join(f"{_name(t.provider, t.precision)} {(t.seconds or 0) * 1000:.1f} ms" for t in advice.totals)
    return f"fastest for all of them: --execution-providers {best.provider}{half} ({others})"
