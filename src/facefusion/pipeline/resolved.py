"""What follows from a recipe alone: who is changed by what, what that requires, which models run. Asked once, carried.

Nothing of it depends on the machine or on what is in photos and clips; only a mapping file is read, where a recipe
still names one that nobody has read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from facefusion.declaration import ModelRef, Need, Requirements, Step, union
from facefusion.pipeline.selection import has_filter, load_face_map
from facefusion.plugins.registry import engine_sees_glasses
from facefusion.recipe import Person, Recipe

SourceKind = Literal["photo", "sound", "other"]
"""What a source is by its content."""
MASK_MODELS = {"occlusion": "face_occluder", "region": "face_parser"}
"""Capability behind each kind of mask that needs a model."""


@dataclass(frozen=True, slots=True)
class Use:
    """A model that runs, and the step that it runs for; None where it is nobody's own."""

    model: ModelRef
    step: Step | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """What is done with those who are changed, or with one person of a mapping file.

    Attributes
    ----------
    sources
        Files that its steps are given.
    steps
        In order.
    required
        What they require together.
    """

    sources: tuple[Path, ...]
    steps: tuple[Step, ...]
    required: Requirements


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """A recipe, and what follows from it.

    Attributes
    ----------
    recipe
        With its mapping file read.
    chains
        Of each person of the mapping file, or the recipe's.
    required
        What all steps require together, the recipe's and those of people.
    generator
        The step that makes the frames itself, or None.
    wants_faces
        Whether anybody wants to know about faces: else there is no first pass.
    wants_identity, wants_attributes, wants_glasses
        Whether people must be told apart by their looks, whether age, gender or appearance must be estimated, and
        whether anybody wants to know who wears glasses.
    identifier
        The recogniser of pass 1: that of a processor that mixes the identity of the target in, where there is one.
    is_protective
        Whether people are hidden, so that a face that is missed is worse than a wall that is covered.
    is_faces_only
        Whether nothing but faces is changed.
    uses_of_analysis, uses_of_rendering
        Models that pass 1 and pass 2 open.
    """

    recipe: Recipe
    chains: tuple[Chain, ...]
    required: Requirements
    generator: Step | None
    wants_faces: bool
    wants_identity: bool
    wants_attributes: bool
    wants_glasses: bool
    identifier: str
    is_protective: bool
    is_faces_only: bool
    uses_of_analysis: tuple[Use, ...]
    uses_of_rendering: tuple[Use, ...]

    @property
    def people(self) -> tuple[Person, ...]:
        """Entries of the mapping file."""
        return self.recipe.people

    @property
    def is_private(self) -> bool:
        """Whether what tells who, where and when must not be in the output beside the picture either."""
        return self.is_protective and not self.recipe.keep_metadata

    @property
    def sources(self) -> tuple[Path, ...]:
        """Files of all chains, each once."""
        return tuple(dict.fromkeys(path for chain in self.chains for path in chain.sources))

    @property
    def known_faces(self) -> dict[Path, str]:
        """Photos that somebody is recognised by, in the order in which they are looked at, and what each is."""
        recipe = self.recipe
        named = [
            *((person.reference, "reference photo of the mapping file") for person in recipe.people),
            (recipe.reference_face_path, "reference photo"),
            *((path, "exempt photo") for path in recipe.exempt_paths),
        ]
        return {path: what for path, what in named if path is not None}

    def new_sound(self, kinds: Mapping[Path, SourceKind]) -> Path | None:
        """The file whose sound takes the place of the target's: the first with sound of a chain that replaces it.

        Parameters
        ----------
        kinds
            What the sources are.
        """
        for chain in self.chains:
            if chain.required.replaces_sound:
                return next((path for path in chain.sources if kinds.get(path) == "sound"), None)
        return None


def face_map_of(recipe: Recipe) -> tuple[Person, ...]:
    """People of the recipe's mapping file; none where there is no such file. A planned recipe has them already."""
    if recipe.people or recipe.face_map_path is None:
        return recipe.people
    return load_face_map(recipe.face_map_path, recipe)


def resolve(asked: Recipe | Resolved) -> Resolved:
    """What follows from a recipe; what is resolved already stays as it is.

    Raises
    ------
    RecipeError, MediaMissing
        When a mapping file cannot be used.
    """
    if isinstance(asked, Resolved):
        return asked
    recipe = asked
    people = face_map_of(recipe)
    if people != recipe.people:
        recipe = recipe.model_copy(update={"people": people})
    own = _asked(recipe.steps)
    everybody = [_asked(person.steps) for person in people]
    named = list(zip((person.sources for person in people), everybody, strict=True)) or [(recipe.source_paths, own)]
    chains = tuple(
        Chain(tuple(sources), tuple(step for step, _ in pairs), union(needed for _, needed in pairs))
        for sources, pairs in named
    )
    every = [pair for pairs in (own, *everybody) for pair in pairs]
    required = union(needed for _, needed in every)
    identifier = recipe.face_identifier_model
    if identifier == "embedded":
        identifier = required.identity_contract or "embedded"
    wants_identity = (
        identifier == "embedded"  # cheap, and it tells who comes back after a cut
        or recipe.face_identifier_model != "embedded"  # whoever names one wants its embeddings
        or recipe.face_selector_mode == "reference"
        or bool(recipe.exempt_paths)
        or Need.IDENTITY in required.needs
        or any(person.reference for person in people)
    )
    wants_faces = bool(required.needs)
    wants_attributes = Need.ATTRIBUTES in required.needs or has_filter(recipe)
    wants_glasses = (
        wants_faces
        and not required.is_protective
        and "occlusion" in recipe.face_mask_types
        and "occlusion" in required.masks
        and engine_sees_glasses("face_occluder", recipe.face_occluder_model)
    )
    return Resolved(
        recipe=recipe,
        chains=chains,
        required=required,
        generator=next((step for step in recipe.steps if step.spec.kind == "source"), None),
        wants_faces=wants_faces,
        wants_identity=wants_identity,
        wants_attributes=wants_attributes,
        wants_glasses=wants_glasses,
        identifier=identifier,
        is_protective=required.is_protective,
        is_faces_only=all(step.spec.kind == "face" for step, _ in every),
        uses_of_analysis=_uses_of_analysis(
            recipe, identifier, wants_identity, wants_attributes, wants_glasses, required.is_protective
        )
        if wants_faces
        else (),
        uses_of_rendering=_uses_of_rendering(recipe, own, everybody),
    )


def _uses_of_analysis(
    recipe: Recipe, identifier: str, has_identity: bool, has_attributes: bool, has_glasses: bool, is_protective: bool
) -> tuple[Use, ...]:
    names = {"face_detector": recipe.face_detector_model, "face_landmarker": recipe.face_landmarker_model}
    if is_protective:
        names["face_verifier"] = "embedded"
    if has_identity:
        names["face_identifier"] = identifier
    if has_attributes:
        names["face_classifier"] = recipe.face_classifier_model
    if has_glasses:
        names["face_occluder"] = recipe.face_occluder_model
    return tuple(Use(ModelRef(capability, name)) for capability, name in names.items())


Pairs = Sequence[tuple[Step, Requirements]]


def _asked(steps: Sequence[Step]) -> Pairs:
    return tuple((step, step.requirements) for step in steps)


def _uses_of_rendering(recipe: Recipe, own: Pairs, everybody: Sequence[Pairs]) -> tuple[Use, ...]:
    """Models that are opened: no more, since licences are asked for them and outputs name them."""
    # The steps of people stand where the recipe's own face steps are.
    built = [pair for pair in own if pair[0].spec.kind != "face" or not everybody]
    used = [Use(model, step) for pairs in (built, *everybody) for step, needed in pairs for model in needed.models]
    chains = everybody or [
        list(pairs) for is_face, pairs in groupby(own, key=lambda pair: pair[0].spec.kind == "face") if is_face
    ]
    on_faces = [union(needed for _, needed in pairs) for pairs in chains]
    # A mean over frames could bring back a trace of who is hidden, so where all are hidden nothing is averaged.
    if recipe.motion_smoothing > 0 and any(not needed.is_protective for needed in on_faces):
        used.append(Use(ModelRef("optical_flow", recipe.optical_flow_model)))
    honoured = {kind for needed in on_faces for kind in needed.masks}
    used += [
        Use(ModelRef(capability, getattr(recipe, f"{capability}_model")))
        for kind, capability in MASK_MODELS.items()
        if kind in recipe.face_mask_types and kind in honoured
    ]
    return tuple(used)
