"""``facefusion doctor``: prints what `facefusion.service.doctor` finds."""

from __future__ import annotations

from facefusion.apps.show import Show
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe
from facefusion.service.backend import Backend
from facefusion.service.doctor import Health, examine
from facefusion.service.models import Models
from facefusion.service.provenance import SigningState
from facefusion.version import DISTRIBUTION
from facefusion.wording import counted


def run_doctor(recipe: Recipe, policy: SitePolicy, backend: Backend, show: Show) -> int:
    """Print a report.

    Returns
    -------
    0 where the embedded default works and what is configured answers, else 6.
    """
    health = examine(Models(recipe.models_paths, recipe.licences), policy, backend)
    show.answer("doctor", health, _text(health))
    return 0 if health.is_well else 6


def _text(health: Health) -> str:
    lines = [
        f"facefusion {health.version}, Python {health.python}, {health.platform}, {counted(health.cores, 'core')}",
        "",
        "packages",
        *(f"  {name:<24}{found or 'not installed'}" for name, found in health.packages.items()),
    ]
    if len(health.runtimes) > 1:
        names, best = health.runtimes, health.runtimes[-1]
        lines += [
            f"  {' and '.join(names)} lie in one folder, and the last one installed has overwritten the others.",
            f"  To have {best}: pip uninstall -y {' '.join(names)} && pip install {best}",
        ]
    lines += ["", "extras"]
    for name, is_there in health.extras.items():
        way_to_it = f"pip install '{DISTRIBUTION}[{name}]'"
        lines.append(f"  {name:<24}{'installed' if is_there else way_to_it}")
    lines += ["", "models"]
    for model in health.models:
        lines.append(f"  {model.id:<28}{model.problem.message if model.problem else model.state}")
    lines.append(f"  {health.other_count} more in the catalogue are not here; see 'facefusion models list'")
    lines += [f"  {problem.message} {problem.hint}" for problem in health.place_problems]
    lines += ["", "execution providers"]
    for provider in health.providers:
        works = f"runs ({provider.runs_on})" if provider.is_offered else "not in this ONNX Runtime"
        if provider.problem is not None:
            works = f"does not run: {provider.problem.message}"
        lines.append(f"  {provider.name:<14}{works}")
    lines += ["", "video encoders"]
    for name, is_there in health.encoders.items():
        lines.append(f"  {name:<24}{'works' if is_there else health.encoder_problems.get(name, '')}")
    lines += ["", "where jobs are"]
    for place in health.places:
        works = "can be written" if place.name == "jobs folder" else "answers"
        state = works if place.problem is None else f"{place.problem.message} {place.problem.hint}"
        lines.append(f"  {place.name:<14}{place.where}: {state}")
    lines += ["", "signing of outputs", *(f"  {line}" for line in _signing(health.signing))]
    lines += ["", "policy", *(f"  {name:<12}{_said(value)}" for name, value in health.policy.items())]
    if health.policy.get("watermark") == "off":
        lines.append("  WARNING: frames are not marked (watermark = off); copies without their manifest say nothing")
    lines += [f"  {problem.message} {problem.hint}" for problem in health.policy_problems]
    return "\n".join([*lines, "", "All is well." if health.is_well else "Something is broken; see above."])


def _signing(state: SigningState) -> list[str]:
    if not state.is_on:
        return ["WARNING: it is off by a setting (provenance = off); outputs do not say that they are synthetic"]
    if state.problem is not None:
        return [f"does not work: {state.problem.message} {state.problem.hint}"]
    if not state.is_made:
        return ["by an identity of this machine, which is made with the first output; it is on no trust list"]
    who = "an identity of this machine, which is on no trust list" if state.is_local else "the site's certificate"
    lines = [f"by {who}, until {state.until} ({state.certificate[:16]})"]
    if state.is_passing:
        lines.append("WARNING: it lies in a temporary folder, since its own cannot be written; name --identity-path")
    return lines


def _said(value: object) -> str:
    return {True: "there", False: "none"}.get(value, str(value)) if isinstance(value, bool) else str(value)
