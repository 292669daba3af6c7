"""``facefusion models``: what there is, what it allows, getting it, checking it, carrying it over."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path

import platformdirs

from facefusion.apps.console import say
from facefusion.errors import FaceFusionError, ModelError, ProviderRefused, RecipeError
from facefusion.media.files import check_outputs, translate_os_error
from facefusion.models.licences import is_allowed
from facefusion.models.spec import ModelSpec
from facefusion.models.store import ModelStore, OnBytes
from facefusion.recipe import Recipe

_FAILED = 6


def run_models(
    action: str, names: list[str], recipe: Recipe, key: Path | None, trusted: list[str], on_bytes: OnBytes
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
    on_bytes
        Called as bytes arrive.

    Returns
    -------
    The exit code.

    Raises
    ------
    FaceFusionError
    """
    store = ModelStore(recipe.models_paths, recipe.licences)
    if action == "list":
        return _list(store)
    if action == "key":
        from facefusion.models.bundle import load_or_make_key, public_text

        say(public_text(load_or_make_key(key or _own_key())))
        return 0
    if action == "import":
        return _import(_one(names, "the folder or bundle"), store, trusted, on_bytes)
    if action == "export":
        return _export(names, store, key or _own_key(), on_bytes)
    if action == "verify":
        return _verify([store.get(name) for name in names] or _here(store), store)
    chosen = [store.get(name) for name in names]
    if not chosen and action != "bench":
        raise RecipeError("No model is named.", f"Use: facefusion models {action} ID; ids: facefusion models list.")
    measured: list[Times] = []
    for spec in chosen or _here(store):
        if action == "show":
            _show(spec, store)
        elif action == "pin":
            for file in spec.files:
                path = store.find(spec, file)
                if path is not None and not file.sha256:
                    store.pin(spec, file, store.hash_of(path))
                    say(f"{spec.id}: {file.name} is pinned to {store.hash_of(path)}")
        elif action == "bench":
            measured.append(_bench(spec, store, recipe))
        else:
            _fetch(spec, store, on_bytes)
    if advice := advise(measured):
        say(advice)
    return 0


def _own_key() -> Path:
    return platformdirs.user_config_path("facefusion") / "bundle-key.pem"


def _one(names: list[str], what: str) -> str:
    if len(names) != 1:
        raise RecipeError(f"Name {what}, and nothing else.", "See facefusion models --help.")
    return names[0]


def _here(store: ModelStore) -> list[ModelSpec]:
    return [spec for spec in store.catalog().values() if store.find(spec) is not None]


def _list(store: ModelStore) -> int:
    say(f"{'model':<28}{'capability':<20}{'licence':<18}{'commercial':<12}{'state'}")
    for spec in sorted(store.catalog().values(), key=lambda spec: (spec.capability, spec.id)):
        is_here = store.find(spec) is not None
        state = "embedded" if spec.origin == "embedded" else "here" if is_here else "not here"
        allowed = "" if is_allowed(spec, store.licences) else f", refused by licences = {store.licences}"
        say(f"{spec.id:<28}{spec.capability:<20}{spec.licence:<18}{spec.commercial:<12}{state}{allowed}")
    return 0


def _show(spec: ModelSpec, store: ModelStore) -> None:
    say(f"{spec.key}: {spec.capability} of the family {spec.family}, {spec.vendor} {spec.year}, {spec.precision}")
    say(f"  licence    {spec.licence} ({spec.licence_source}); commercial use: {spec.commercial}")
    for file in spec.files:
        path = store.find(spec, file)
        say(f"  file       {file.name}, {file.size_bytes or '?'} bytes, {path or 'not here'}")
        say(f"  sha256     {file.sha256 or 'not published; pinned when it is first loaded'}")
        for url in file.urls:
            say(f"  url        {url}")
    if spec.preprocess.size or spec.preprocess.template:
        prepared = spec.preprocess
        say(f"  crops      {prepared.template or 'no template'}, {prepared.size} px, {prepared.colour}")
        say(f"             mean {prepared.mean}, std {prepared.std}")
    for kind, side in (("in", spec.inputs), ("out", spec.outputs)):
        for name, shape in side.items():
            say(f"  {kind:<4}{name:<8} {' x '.join('?' if n is None else str(n) for n in shape) or 'any shape'}")
    for key, value in [*spec.options.items(), *spec.figures.items()]:
        say(f"  {key}: {value}")


def _fetch(spec: ModelSpec, store: ModelStore, on_bytes: OnBytes) -> None:
    from facefusion.models.fetch import fetch

    if spec.origin == "embedded":
        say(f"{spec.id} ships with facefusion.")
        return
    needed = [spec, *(store.get(name) for name in spec.needs)]
    for one in needed:
        fetched = fetch(one, store, on_bytes)
        say(f"{one.id}: {', '.join(str(path) for path in fetched) or 'already here'}")


def state_of(spec: ModelSpec, store: ModelStore) -> str:
    """What is known of the files of a model that were verified."""
    if all(file.sha256 for file in spec.files):
        return "verified"
    return (
        "as it was pinned" if store.is_known(spec) else "nobody has said what it should be; pinned when it first works"
    )


def _verify(specs: list[ModelSpec], store: ModelStore) -> int:
    failed = 0
    for spec in specs:
        try:
            store.verify(spec)
            state = state_of(spec, store)
        except ModelError as error:
            failed += 1
            state = f"{error.message} {error.hint}"
        say(f"{spec.id:<28}{state}")
    return _FAILED if failed else 0


def _import(place: str, store: ModelStore, trusted: list[str], on_bytes: OnBytes) -> int:
    path = Path(place)
    if path.is_dir():
        from facefusion.models.importing import import_folder

        results = import_folder(path, store, on_bytes)
        for result in results:
            say(f"{result.name:<36}{result.state}{f' ({result.model_id})' if result.model_id else ''}")
        return _FAILED if any(result.state == "damaged" for result in results) else 0
    from facefusion.models.bundle import import_bundle

    for spec in import_bundle(path, store, trusted, on_bytes):
        say(f"{spec.id:<28}imported, {spec.licence}")
    return 0


def _export(names: list[str], store: ModelStore, key: Path, on_bytes: OnBytes) -> int:
    from facefusion.models.bundle import export_bundle, load_or_make_key, public_text

    if len(names) < 2:
        raise RecipeError("Name the bundle and the models.", "Use: facefusion models export BUNDLE ID [ID …].")
    signer = load_or_make_key(key)
    path = Path(names[0])
    specs = [store.get(name) for name in names[1:]]
    found = [("model file", store.find(spec, file)) for spec in specs for file in spec.files]
    check_outputs([("bundle", path)], [("key", key), *((what, file) for what, file in found if file is not None)])
    try:
        export_bundle(path, specs, store, signer, on_bytes)
    except OSError as error:
        raise translate_os_error(error, path) from error
    say(f"{path}: {len(names) - 1} models, signed by {public_text(signer)}")
    say(f"  On the other machine: facefusion models import {path.name} --trust {public_text(signer)}")
    return 0


Times = dict[tuple[str, str], float]
"""Seconds of one call, by provider and precision."""


def _bench(spec: ModelSpec, store: ModelStore, recipe: Recipe) -> Times:
    """Time every installed provider on this model and say which is fastest."""
    from facefusion.models.providers import check_precision, describe_providers, warm_up_inputs
    from facefusion.models.session import SESSIONS
    from facefusion.plugins.protocols import makes_pictures

    times: Times = {}
    precisions = ("model", "half") if makes_pictures(spec) else ("model",)
    here = [name for name, is_there in describe_providers().items() if is_there]
    for provider, precision in itertools.product(here, precisions):
        try:
            check_precision([provider], precision)
        except ProviderRefused:
            continue  # there is no such thing to measure
        try:
            session = SESSIONS.get(
                spec, store, [provider], recipe.execution_thread_count or 1, recipe.execution_device_ids[0],
                precision == "half",
            )  # fmt: skip
            inputs = warm_up_inputs(session.graph)
            session.graph.run(None, inputs)
            spent = []
            for _ in range(10):
                began = time.perf_counter()
                session.graph.run(None, inputs)
                spent.append(time.perf_counter() - began)
            times[provider, precision] = statistics.median(spent)
        except FaceFusionError as error:
            say(f"{spec.id:<28}{_name(provider, precision)}: {error.message}")
    if times:
        shown = ", ".join(f"{_name(*key)} {spent * 1000:.2f} ms" for key, spent in times.items())
        say(f"{spec.id:<28}{shown}; fastest: {_name(*min(times, key=lambda key: times[key]))}")
    return times


def _name(provider: str, precision: str) -> str:
    return provider if precision == "model" else f"{provider} in half precision"


def advise(measured: list[Times]) -> str:
    """Options that were fastest over all models together, one call of each; empty where nothing could be measured."""
    totals: Times = {}
    for provider, precision in sorted({key for times in measured for key in times}):
        # What does not make pictures has no half.
        calls = [times.get((provider, precision), times.get((provider, "model"))) for times in measured]
        known = [spent for spent in calls if spent is not None]
        if len(known) == len(measured):
            totals[provider, precision] = sum(known)
    if not totals:
        return ""
    provider, precision = min(totals, key=lambda key: totals[key])
    options = f"--execution-providers {provider}" + (" --execution-precision half" if precision == "half" else "")
    others = ", ".join(f"{_name(*key)} {spent * 1000:.1f} ms" for key, spent in totals.items())
    return f"fastest for all of them: {options} ({others})"
