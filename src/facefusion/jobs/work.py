"""Doing the items of a job: claim, work, put the file in its place, record. Anyone may do any item at any time."""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import threading
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from facefusion import traces
from facefusion.analyse.analyser import Analyser
from facefusion.documents import reason_of
from facefusion.errors import (
    ExtraMissing,
    FaceFusionError,
    Fault,
    JobMismatch,
    LeaseLost,
    LicenceRefused,
    ModelMissing,
    NoFaceInTarget,
    OutOfMemory,
    PolicyUnready,
    ProviderRefused,
    SegmentDamaged,
    TracksError,
    UnknownJob,
    own_error,
)
from facefusion.jobs.provenance import statement_of, told_recipe
from facefusion.jobs.states import Item, Publish, StageName
from facefusion.jobs.storage import FolderStorage, Storage, bring, check_job_id, check_key, hash_file
from facefusion.jobs.store import Job, JobStore
from facefusion.jobs.stored import Joined, Merged, Outcome, Rendered, StoredPlan, Told
from facefusion.jobs.tally import of_spent
from facefusion.media.generated import join_generated
from facefusion.media.layer_folders import left_by_earlier, pairs_of_layer, stand_in_of
from facefusion.media.probe import mount
from facefusion.media.segments import SUFFIX, Part
from facefusion.media.sequence import names_listed, written_pictures
from facefusion.metrics.report import check_report, report_files
from facefusion.models.providers import core_count
from facefusion.models.spent import take
from facefusion.pipeline.cast import Cast, PoorSourceWarning, build_analyser, build_cast
from facefusion.pipeline.clip import (
    build_flow,
    check_analysed,
    empty_tracks,
    join_observations,
    load_tracks,
    merge_segments,
    notes_on_target,
    observe_spans,
    privacy_notes,
    render_spans,
    save_layers,
)
from facefusion.pipeline.generate import build_source, generate_spans
from facefusion.pipeline.inputs import BoundInputs, Shelf
from facefusion.pipeline.permission import Permission
from facefusion.pipeline.plan import Plan, Target, find_models
from facefusion.pipeline.progress import Progress
from facefusion.pipeline.resolved import resolve
from facefusion.pipeline.review import judged
from facefusion.pipeline.runner import (
    build_reporter,
    can_copy,
    check_size,
    comment_of,
    copy_target,
    measure_output,
    models_used,
    notes_of,
    save_report,
)
from facefusion.pipeline.selection import told_choice, told_numbers
from facefusion.plugins.protocols import FrameSource
from facefusion.policy.provenance import SIDECAR, Signed, drop_sidecar, sidecar_of, sign
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.policy.verdict import Verdict
from facefusion.recipe import Recipe, build_recipe
from facefusion.types.observation import Observation
from facefusion.types.track import Tracks
from facefusion.version import __version__
from facefusion.workplace import LOCK, Workplace, is_held, refusal, user_base
from facefusion.writing import deliver, stand_in, told_as

LEASE_S = 15.0
"""A worker that has not been heard of for so long is taken to be lost."""
log = logging.getLogger("facefusion.jobs")
BEAT_S = 0.5
"""A worker asks this often whether it is to stop."""
Key = tuple[str, StageName, int]


def owner_name() -> str:
    """A name for a worker process that no other one has."""
    return f"{platform.node()[:32]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def key_of(job_id: str, stage: StageName, number: int) -> str:
    """Where an item's file is.

    Raises
    ------
    JobError
        When the id is none.
    """
    check_job_id(job_id)
    return {
        "generate": f"{job_id}/generated/{number:05d}{SUFFIX}",
        "assemble": f"{job_id}/target.mp4",
        "analyse": f"{job_id}/observations/{number:05d}.safetensors",
        "join": f"{job_id}/tracks.safetensors",
        "render": f"{job_id}/segments/{number:05d}{SUFFIX}",
        "merge": f"{job_id}/output",
    }[stage]


def give_up(store: JobStore, key: Key, owner: str, error: FaceFusionError) -> list[Publish]:
    """Record that an item went wrong, and with the job why, where it is not tried again.

    Returns
    -------
    What is to be told to workers.
    """
    try:
        commands = store.fail(key, owner, error)
        job = store.get(key[0])
        is_over = not error.retryable or isinstance(error, (OutOfMemory, Fault)) or job.max_attempts == 1
        if is_over and job.status == "failed":
            store.record(key[0], outcome={"error": Told.of(error).as_dict()})
        return commands
    except (LeaseLost, UnknownJob):
        return []


def joined_as(plan: Plan, target: Target, cast: Cast, tracks: Tracks, name: str) -> Joined:
    """What is recorded with the tracks of a job: who is changed by which chain.

    Parameters
    ----------
    plan, target
        What is done, and with what.
    cast, tracks
        Who takes part.
    name
        Of the target, for errors.

    Raises
    ------
    NoFaceInTarget
    TracksError
        When the tracks are those of another target.
    """
    recipe = plan.recipe
    if not tracks.tracks and not (recipe.allow_empty and plan.kind == "clip"):
        way_out = " Add --allow-empty to get a copy." if plan.kind == "clip" else ""
        raise NoFaceInTarget(
            f"No face is found in the target {name}.",
            f"Lower --face-detector-score or raise --face-detector-size.{way_out}",
        )
    check_size(tracks, target, recipe.target_path)
    assigned = cast.assign(recipe, tracks)
    if not assigned and not recipe.allow_empty and not recipe.decisions:
        cast.check_chosen(recipe, tracks, name)
    absent = [one for one in cast.exemptions(recipe, tracks) if one.is_absent]
    notes = [f"{one.photo} is exempt, but nobody in the target looks like them." for one in absent]
    notes += [
        f"The mapping file changes who looks like {photo}, but nobody in the target does."
        for photo in cast.unmatched(recipe, tracks)
    ]
    notes += told_numbers(recipe, tracks)
    everybody = {tracks.person_of(track.track_id) for track in tracks.tracks}
    notes += [f"Face {k} is exempt, but the target has no such." for k in recipe.exempt_faces if k not in everybody]
    found = {tracks.person_of(k) for k, how in judged(recipe, tracks).items() if how != "unlikely"}
    if not cast.people:
        notes += told_choice(recipe, tracks, found, assigned)
    notes += cast.notes_on(tracks, assigned)
    return Joined(assigned, len(found), notes=tuple(notes))


def report_key(job_id: str, path: Path) -> str:
    """Where workers leave a file of a report."""
    return f"{check_job_id(job_id)}/report{path.suffix}"


def sidecar_key(job_id: str) -> str:
    """Where workers leave the manifest of an output that cannot hold one."""
    return f"{check_job_id(job_id)}/output{SIDECAR}"


def workplace_name(owner: str) -> str:
    """Name of an owner's working folder: by its lock it can be told whether the owner lives."""
    return re.sub(r"[^0-9A-Za-z]+", "-", owner)


def is_at_work(storage: Storage, item: Item, now: float) -> bool:
    """Whether somebody is at an item: by the lock of its owner, or by its lease where there is no such lock.

    Parameters
    ----------
    storage
        Of the job.
    item
        As stored.
    now
        Seconds of the store's clock.
    """
    if item.status != "running":
        return False
    if isinstance(storage, FolderStorage):
        return is_held(storage.work / f"{workplace_name(item.owner)}{LOCK}")
    return item.lease_until > now


_UNMARKED_LAYER = (
    "The layer is without the invisible mark, which is in every pixel of a changed frame: over the target it gives the "
    "output but for that, and exactly with --watermark off."
)


@dataclass(eq=False)
class _Bench:
    """What a process keeps of the job it works on: plan with local paths, engines, sources."""

    job: Job
    stored: StoredPlan
    plan: Plan
    shelf: Shelf
    analyser: Analyser | None = None
    cast: Cast | None = None
    source: FrameSource | None = None
    inputs: BoundInputs | None = None
    permission: Permission = field(default_factory=Permission)
    sources_verdict: Verdict | None = None
    content_verdict: Verdict | None = None
    _target: Target | None = field(default=None, repr=False)

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def target(self) -> Target:
        if self._target is None:
            self._target = self.plan.target
        return self._target


class Worker:
    """Does items; one in each process.

    Parameters
    ----------
    store
        The truth.
    storage
        The files.
    folder
        For files while they are made. With `FolderStorage` a hidden folder in it: files are renamed, not copied.
    thread_count
        Threads for rendering, 0 for as many as there are cores.
    execution
        Options of this machine that take the place of the recipe's: providers, models paths, licences.
    lease_s
        How long the worker may be silent.
    is_one_of_many
        Whether other workers may do what this one must refuse for its licences, providers, models or packages.
    shelf
        What this process has read of the photos of the job; only a worker that does no other job gets one.
    policy
        What may be done here. A worker asks it itself, whatever was said when the job was made.

    Attributes
    ----------
    refused
        Jobs that this worker does not take again.
    signs
        A number that grows with every frame.
    """

    def __init__(
        self,
        store: JobStore,
        storage: Storage,
        folder: Path | None = None,
        thread_count: int = 0,
        execution: dict[str, Any] | None = None,
        lease_s: float = LEASE_S,
        is_one_of_many: bool = False,
        shelf: Shelf | None = None,
        policy: SitePolicy = NO_POLICY,
    ) -> None:
        self._policy = policy
        self._is_one_of_many, self._shelf = is_one_of_many, shelf or Shelf()
        self.refused: set[str] = set()
        self.store, self.storage, self.owner = store, storage, owner_name()
        self._is_shared = not isinstance(storage, FolderStorage)
        self._base = storage.work if isinstance(storage, FolderStorage) else folder or user_base()
        self._place: Workplace | None = None
        self._deliver: Callable[[], None] | None = None
        self._threads, self._execution, self._lease_s = thread_count, execution or {}, lease_s
        self._bench: _Bench | None = None
        self._inputs = ExitStack()
        self._is_stopping = threading.Event()
        self.signs = 0

    def stop(self) -> None:
        """Drop what is in hand at the next frame; called from another thread. It stays claimed."""
        self._is_stopping.set()

    def close(self) -> None:
        """Take away what was kept."""
        traces.flush()
        self._forget()
        if self._place is not None:
            self._place.close()
            self._place = None

    @property
    def place(self) -> Workplace:
        """The working folder of this worker, and of nobody else as long as it lives."""
        if self._place is None:
            self._place = Workplace(self._base, workplace_name(self.owner))
        return self._place

    @property
    def _folder(self) -> Path:
        return self.place.folder

    def _forget(self, is_other: bool = True) -> None:
        """Let go of a job and of the photos that were fetched for it; where another follows, of what was read too."""
        self._bench = self._deliver = None
        if is_other:
            self._shelf.clear()
        self._inputs.close()
        if self._place is not None:
            shutil.rmtree(self._folder / "inputs", ignore_errors=True)

    def perform(self, job_id: str, stage: StageName, numbers: range) -> list[Publish]:
        """Do consecutive items of a stage, up to the first that somebody else has.

        Each is claimed when the one before is done, so others may take from the end of the stretch meanwhile; reading
        goes on from one to the next without a seek.

        Returns
        -------
        What is to be told to workers now. Failures are recorded with the item, not raised.

        Raises
        ------
        StoreUnreachable
            When the store does not answer: nothing can be recorded then.
        """
        commands: list[Publish] = []
        if not numbers or not self._claim(job_id, stage, numbers[0]):
            return commands
        in_hand = [numbers[0]]
        with (
            traces.part(job_id, stage, stage=stage, segment=numbers[0]) as tell,
            self._heart(job_id, stage, in_hand) as heart,
        ):

            def count(done: int) -> None:
                self.signs += 1
                if self._is_stopping.is_set():
                    raise LeaseLost("This worker was told to stop.", "Nothing is to be done.")
                heart.count(done)

            try:
                with closing(self._do(self._prepare(job_id), stage, numbers, count)) as found:
                    for number, path, outcome in found:
                        self._check_untouched(stage)
                        sha256 = hash_file(path) if path is not None else ""
                        if path is not None:
                            self.storage.put(key_of(job_id, stage, number), path)
                        kept = {} if outcome is None else outcome.as_dict()
                        key, spent = (job_id, stage, number), of_spent(stage, take())
                        commands += self.store.finish(key, self.owner, sha256, kept, self._deliver, spent)
                        log.info("part is done", extra={"job": job_id, "stage": stage, "segment": number})
                        tell(segments=number + 1 - numbers[0])
                        in_hand.clear()
                        heart.next()
                        if number == numbers[-1] or not self._claim(job_id, stage, number + 1):
                            break
                        in_hand.append(number + 1)
            except (LeaseLost, UnknownJob):
                pass  # cancelled, deleted, or somebody else's by now
            except (KeyboardInterrupt, SystemExit):
                raise  # somebody wants this process to end
            except BaseException as error:  # some libraries raise what is no Exception
                own = own_error(error)
                traces.fail(own)
                if isinstance(own, (Fault, OutOfMemory)):
                    self._forget()  # engines may be in any state
                for number in in_hand:
                    told = {"job": job_id, "stage": stage, "segment": number, "code": own.code}
                    log.warning("part failed", extra=told)
                commands += [c for number in in_hand for c in self._fail((job_id, stage, number), own)]
                with suppress(FaceFusionError):  # what it took is counted all the same
                    self.store.add_up(of_spent(stage, take()))
        if stage == "merge":
            if self._bench is not None and not in_hand:
                traces.end(job_id, self._bench.job.created_at)
            self._forget()
        return commands

    def _claim(self, job_id: str, stage: StageName, number: int) -> bool:
        check_job_id(job_id)
        assert self.place  # before anything is claimed, so that it can be told whether its owner lives
        self._deliver = None
        return self.store.claim((job_id, stage, number), self.owner, self._lease_s) is not None

    def _fail(self, key: Key, error: FaceFusionError) -> list[Publish]:
        if isinstance(error, SegmentDamaged):
            return self._mend(key, error)
        is_refusal = isinstance(
            error, (LicenceRefused, ProviderRefused, ModelMissing, ExtraMissing, JobMismatch, PolicyUnready)
        )
        if is_refusal and self._is_one_of_many:
            self.refused.add(key[0])
            return self.store.refuse(key, self.owner, str(error))
        return self._give_up(key, error)

    def _give_up(self, key: Key, error: FaceFusionError) -> list[Publish]:
        return give_up(self.store, key, self.owner, error)

    def _mend(self, key: Key, error: SegmentDamaged) -> list[Publish]:
        """Have damaged files made again, and this item after them."""
        broken = self.find_damage(key[0])
        if not broken:
            return self._give_up(key, error)
        commands = self.store.wait(key, self.owner)
        for other, reason in broken:
            commands += self.store.invalidate(other, reason)
        return commands

    def find_damage(self, job_id: str) -> list[tuple[Key, str]]:
        """Items that are recorded as done and whose files are missing or not what was recorded."""
        items = self.store.items(job_id)
        is_joined = any(item.stage == "join" and item.status == "done" for item in items)
        is_assembled = any(item.stage == "assemble" and item.status == "done" for item in items)
        is_merged = any(item.stage == "merge" and item.status == "done" for item in items)
        found: list[tuple[Key, str]] = []
        for item in items:
            if item.status != "done" or not item.sha256 or item.stage == "merge" or is_merged:
                continue
            if item.stage == "analyse" and is_joined:
                continue  # taken away when the tracks were made
            if item.stage == "generate" and is_assembled:
                continue
            reason = self._damage(item)
            if reason:
                found.append((item.key, reason))  # type: ignore[arg-type]
        return found

    def _damage(self, item: Item) -> str:
        try:
            with self.storage.local(key_of(*item.key)) as path:  # type: ignore[arg-type]
                return "" if hash_file(path) == item.sha256 else "its file is not what was recorded"
        except FileNotFoundError:
            return "its file is missing"

    def _prepare(self, job_id: str) -> _Bench:
        if self._bench is not None and self._bench.job.id == job_id:
            if self._bench.plan.is_generated and not isinstance(self.storage, FolderStorage):
                self._generated(self._bench.job)  # it may be there by now
            return self._bench
        self._forget(is_other=self._bench is not None)
        job = self.store.get(job_id)
        stored = job.plan
        if stored.version != __version__:
            raise JobMismatch(
                f"Job {job_id} was begun with FaceFusion {stored.version}; this is {__version__}.",
                "Finish it with that version, or delete it and begin again.",
            )
        asked = build_recipe({**job.recipe, **self._execution})
        recipe, places = self._localised(job, stored, asked)
        resolved = resolve(recipe)
        models = find_models(resolved)
        if recipe.report_path is not None:
            check_report(recipe.report_path)
        plan = Plan(resolved, stored.found.at(places), models, self._threads or core_count())
        hashes = plan.model_hashes()
        changed = sorted(name for name, sha in stored.models.items() if hashes.get(name) != sha)
        if changed:
            raise JobMismatch(
                f"{changed[0]} is not the file that job {job_id} began with.",
                "Give this worker the same models, or delete the job and begin again.",
            )
        permission = Permission(self._policy, stored.tenant, self._shelf)
        self._bench = _Bench(job, stored, plan, self._shelf, permission=permission)
        if not job.is_shared:  # those in the storage are copies that nobody changes
            self._bench.inputs = BoundInputs.bind(map(Path, stored.hashes), stored.hashes)
        return self._bench

    def _check_untouched(self, stage: StageName) -> None:
        """Before anything is recorded: what was read is what was hashed. A merge is checked before it has its name."""
        bench = self._bench
        if stage == "merge" or bench is None or bench.inputs is None:
            return
        try:
            bench.inputs.check_untouched()
        except JobMismatch:
            self._forget()  # what was read is not to be used again
            raise

    def _generated(self, job: Job) -> Path:
        """Where this machine finds, or will find, the clip that a processor made."""
        key = key_of(job.id, "assemble", 0)
        if isinstance(self.storage, FolderStorage):
            return self.storage.path(key)
        goal = self._folder / "inputs" / "generated.mp4"
        if not goal.exists() and self.storage.has(key):
            bring(self.storage, key, goal)
        return goal

    def _localised(self, job: Job, stored: StoredPlan, recipe: Recipe) -> tuple[Recipe, dict[Path, Path]]:
        """The recipe with inputs that this machine can read, and where each of them is here."""
        is_generated = stored.found.generated is not None
        if is_generated:
            recipe = recipe.model_copy(update={"target_path": self._generated(job)})
        if not job.is_shared:
            return recipe, {}
        inputs = stored.inputs
        places: dict[Path, Path] = {}
        folder = self._folder / "inputs"

        def local(path: Path) -> Path:
            key = check_key(inputs[str(path)])
            if isinstance(self.storage, FolderStorage):
                places[path] = self.storage.path(key)
                return places[path]
            places[path] = goal = folder / key
            if not goal.exists():
                bring(self.storage, key, goal)
            return goal

        values: dict[str, Any] = {
            "source_paths": tuple(local(path) for path in recipe.source_paths),
            "exempt_paths": tuple(local(path) for path in recipe.exempt_paths),
        }
        if recipe.reference_face_path is not None:
            values["reference_face_path"] = local(recipe.reference_face_path)
        values["people"] = tuple(
            person.model_copy(
                update={
                    "reference": person.reference and local(person.reference),
                    "sources": tuple(local(path) for path in person.sources),
                }
            )
            for person in recipe.people
        )
        if recipe.report_path is not None:
            values["report_path"] = self._folder / f"report{recipe.report_path.suffix}"
        if is_generated:
            return recipe.model_copy(update=values), places
        target = check_key(inputs[str(recipe.target_path)])
        if stored.found.kind == "photo":
            values["target_path"] = local(recipe.target_path)
        elif isinstance(self.storage, FolderStorage):
            values["target_path"] = self.storage.path(target)
        else:  # read in ranges: no worker needs the whole film
            storage = self.storage
            path = folder / target
            self._inputs.enter_context(mount(path, stored.target_bytes, lambda: storage.open_range(target)))
            values["target_path"] = path
        return recipe.model_copy(update=values), places

    def _do(
        self, bench: _Bench, stage: StageName, numbers: range, count: Callable[[int], None]
    ) -> Generator[tuple[int, Path | None, Outcome | None]]:
        try:
            self._ask(bench, stage)
            if stage == "generate":
                yield from self._generate(bench, numbers, count)
            elif stage == "assemble":
                yield self._assemble(bench)
            elif stage == "analyse":
                yield from self._observe(bench, numbers, count)
            elif stage == "join":
                try:
                    yield self._join(bench)
                finally:  # it is recorded by now, if all went well
                    self._drop_observations(bench.job.id)
            elif stage == "render":
                self._drop_observations(bench.job.id)
                yield from self._render(bench, numbers, count)
            else:
                yield self._merge(bench, count)
        except OSError as error:
            if isinstance(error, FaceFusionError):
                raise
            raise refusal(error, Path(error.filename or self._folder)) from error

    def _ask(self, bench: _Bench, stage: StageName) -> Verdict:
        """What the policy of this machine says of a job, as far as it can be known before a stage; once in a job.

        Nothing of it is taken from the plan or from another worker: sources, frames and people are looked at here.

        Raises
        ------
        PolicyError
        """
        if bench.sources_verdict is None:
            bench.sources_verdict = bench.permission.sources(bench.plan.resolved, bench.plan)
        if bench.content_verdict is None and stage in ("render", "merge"):
            bench.content_verdict = bench.permission.content(bench.recipe, bench.plan.kind)
        return bench.sources_verdict.joined(bench.content_verdict or Verdict())

    def _ask_of_people(self, bench: _Bench, tracks: Tracks, assigned: Mapping[int, int]) -> Verdict:
        """The same of those who are changed.

        Raises
        ------
        PolicyError
        """
        return bench.permission.people(bench.plan.resolved, bench.plan.kind, tracks, assigned)

    def _drop_observations(self, job_id: str) -> None:
        """Take away what was seen of people, once the tracks are made of it."""
        with suppress(FaceFusionError):  # else it goes with the job, or the job says so
            joins = [item.status for item in self.store.items(job_id) if item.stage == "join"]
            if joins == ["done"]:
                self.storage.delete(f"{check_job_id(job_id)}/observations/")

    def _generate(self, bench: _Bench, numbers: range, count: Callable[[int], None]) -> Generator[Any]:
        if bench.source is None:
            bench.source = build_source(bench.plan, bench.shelf)
            if bench.source.info != bench.plan.found.generated:
                raise JobMismatch(
                    f"What is made for job {bench.job.id} is not what was planned.", "Delete the job and begin again."
                )
        spans = bench.plan.spans
        with closing(generate_spans(bench.plan, bench.source, spans, numbers, self._folder, count)) as found:
            for number, path in found:
                yield number, path, None

    def _assemble(self, bench: _Bench) -> tuple[int, Path, None]:
        path, made = self._folder / "target.mp4", bench.plan.found.generated
        assert made is not None
        with ExitStack() as stack:
            items = [item for item in self.store.items(bench.job.id) if item.stage == "generate"]
            parts = [self._open(stack, item, lambda part: part) for item in items]
            join_generated(path, parts, made)
        bench.source = None
        return 0, path, None

    def _observe(self, bench: _Bench, numbers: range, count: Callable[[int], None]) -> Generator[Any]:
        recipe, plan, analyser = bench.recipe, bench.plan, self._analyser(bench)
        with closing(observe_spans(recipe, analyser, plan.spans, numbers, count, plan.kind, bench.shelf)) as found:
            for number, observation in zip(numbers, found, strict=True):
                path = self._folder / f"{number:05d}.safetensors"
                observation.save(path)
                yield number, path, None

    def _analyser(self, bench: _Bench) -> Analyser:
        if bench.analyser is None:
            bench.analyser = build_analyser(bench.plan.resolved)
        return bench.analyser

    def _join(self, bench: _Bench) -> tuple[int, Path, Joined]:
        # Names of this machine say nothing about the tracks.
        notes = notes_of(bench.recipe, bench.plan.models.analysis, bench.target.frames)
        notes["target"] = bench.job.target_path.name
        path = self._folder / "tracks.safetensors"
        with ExitStack() as stack:
            observations = [
                self._open(stack, item, Observation.load)
                for item in self.store.items(bench.job.id)
                if item.stage == "analyse"
            ]
            try:
                tracks = join_observations(self._analyser(bench), observations, notes, path)
            except TracksError as error:
                raise SegmentDamaged(
                    f"A part of the analysis is damaged: {reason_of(error)}.", "It is made again."
                ) from error
        joined = joined_as(bench.plan, bench.target, self._cast(bench), tracks, notes["target"])
        if self._policy.looks_at_people:
            joined = replace(joined, verdict=self._ask_of_people(bench, tracks, joined.assigned))
        return 0, path, joined

    def _cast(self, bench: _Bench) -> Cast:
        if bench.cast is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PoorSourceWarning)  # said when the job was made
                plan = bench.plan
                bench.cast = build_cast(plan.resolved, kinds=plan.found.sources, shelf=bench.shelf)
        return bench.cast

    def _load(self, item: Item, load: Callable[[Path], Any]) -> Any:
        with ExitStack() as stack:
            return self._open(stack, item, load)

    def _open(self, stack: ExitStack, item: Item, load: Callable[[Path], Any]) -> Any:
        """What is in the file of an item, which stays where it is as long as the stack is open."""
        try:
            return load(stack.enter_context(self.storage.local(key_of(*item.key))))  # type: ignore[arg-type]
        except (FileNotFoundError, TracksError) as error:
            raise SegmentDamaged(
                f"{item.stage} {item.number} is damaged: {reason_of(error)}.", "It is made again."
            ) from error

    def _render(self, bench: _Bench, numbers: range, count: Callable[[int], None]) -> Generator[Any]:
        job_id, plan = bench.job.id, bench.plan
        cast = self._cast(bench)
        tracks = empty_tracks(plan.recipe, plan.kind, bench.target)
        item = next((item for item in self.store.items(job_id) if item.stage == "join"), None)
        if item is not None:
            tracks = self._load(item, lambda path: load_tracks(path, plan.spans, numbers))
        joined = self.store.joined(job_id) or Joined()
        self._ask_of_people(bench, tracks, joined.assigned)
        flow = build_flow(plan.recipe, cast, tracks, joined.assigned, bench.target.begin, bench.stored.mark_id)
        rendering = render_spans(plan, flow, plan.spans, numbers, self._folder, count, bench.shelf)
        with closing(rendering) as segments:
            for segment in segments:
                part = segment.part
                pts, durations = (tuple(int(v) for v in values) for values in (part.pts, part.durations))
                if item is not None and plan.kind == "clip":
                    times = [time + bench.target.begin for time in pts]
                    check_analysed(tracks, times, plan.recipe.target_path.name)
                outcome = Rendered(pts, durations, segment.changed_frame_count, segment.defects)
                yield segment.number, part.path, outcome

    def _merge(self, bench: _Bench, count: Callable[[int], None]) -> tuple[int, Path | None, Merged]:
        asked, report = bench.job.output_path, bench.recipe.report_path
        if bench.job.is_shared:
            output = self._folder / f"output{asked.suffix}"
            with told_as(output, asked):
                outcome = self._write_output(bench, output, report, count)
            if sidecar_of(output).exists():
                self.storage.put(sidecar_key(bench.job.id), sidecar_of(output))
            return 0, output, outcome
        # All of it gets its name only when the job is known to be wanted still.
        wanted = (bench.recipe.mask_path, bench.recipe.layer_path)
        folders = [self.place.beside(path) for path in (asked, report) if path is not None]
        output, made = stand_in(folders[0], asked), report and folders[1] / report.name
        layers = [path and self.place.beside(stand_in_of(path)) / path.name for path in wanted]
        folders += [path.parent for path in layers if path is not None]
        try:
            with ExitStack() as stack:
                for one, other in zip((output, *layers), (asked, *wanted), strict=True):
                    if one is not None and other is not None:
                        stack.enter_context(told_as(one, other))
                outcome = self._write_output(bench, output, made, count, layers)
        except BaseException:
            self.place.drop(*folders)
            raise
        pairs = [(output, asked)]
        if sidecar_of(output).exists():
            pairs.append((sidecar_of(output), sidecar_of(asked)))
        pictures = written_pictures(output, asked)
        earlier = names_listed(asked) - {other.name for _, other in pictures}
        pairs[:1] = [*pictures, pairs[0]]  # the index first: what is there of it then is known to be its own
        if report is not None and made is not None:
            pairs += zip(report_files(made), report_files(report), strict=True)
        stale: set[Path] = set()
        for one, other in zip(layers, wanted, strict=True):
            if one is not None and other is not None:
                made_of = pairs_of_layer(one, other)
                stale |= left_by_earlier(other) - {path for _, path in made_of}
                pairs += made_of

        def put_in_place() -> None:
            if bench.inputs is not None:
                bench.inputs.check_untouched()
            if sidecar_of(asked) not in {other for _, other in pairs}:
                drop_sidecar(asked)
            for path in stale:  # as below
                path.unlink(missing_ok=True)
            for one, other in reversed(pairs):
                if other == asked:  # once the new index is there, nobody knows whose these were
                    for name in earlier:
                        (asked.parent / name).unlink(missing_ok=True)
                deliver(one, other)
            self.place.drop(*folders)

        self._deliver = put_in_place
        return 0, None, outcome

    def _write_output(
        self,
        bench: _Bench,
        output: Path,
        report: Path | None,
        count: Callable[[int], None],
        layers: Sequence[Path | None] = (None, None),
    ) -> Merged:
        job, plan = bench.job, bench.plan
        items = [item for item in self.store.items(job.id) if item.stage == "render"]
        rendered = self.store.rendered(job.id)
        check = (lambda: None) if bench.inputs is None else bench.inputs.check
        joined = self.store.joined(job.id)
        verdict = self._verdict(bench, joined)
        frames, changed = sum(len(one.pts) for one in rendered), sum(one.changed_frame_count for one in rendered)
        if plan.is_generated:
            changed = frames
        notes: list[str] = [*bench.stored.notes, *(() if joined is None else joined.notes)]
        is_empty = joined is not None and not joined.track_count and plan.resolved.is_faces_only
        is_copy = plan.kind == "clip" and is_empty and can_copy(plan, job.output_path) and not plan.recipe.has_layer
        if is_copy:
            if job.is_shared:
                with self.storage.local(bench.stored.inputs[str(job.target_path)]) as target:
                    copy_target(target, output)
            else:
                copy_target(plan.recipe.target_path, output, check)
        else:
            with ExitStack() as stack:
                parts = []
                for item, one in zip(items, rendered, strict=True):
                    try:
                        path = stack.enter_context(self.storage.local(key_of(*item.key)))  # type: ignore[arg-type]
                    except FileNotFoundError as error:
                        raise SegmentDamaged(f"Segment {item.number} is missing.", "It is made again.") from error
                    if hash_file(path) != item.sha256:
                        raise SegmentDamaged(f"Segment {item.number} is damaged.", "It is made again.")
                    parts.append(Part(path, one.pts, one.durations))
                if plan.recipe.has_layer:
                    save_layers(plan, parts, comment_of(plan), *layers)
                    is_partial = plan.recipe.layer_path is not None and plan.resolved.is_faces_only
                    if is_partial and bench.stored.mark and changed:
                        notes.append(_UNMARKED_LAYER)
                notes += merge_segments(plan, parts, comment_of(plan), output, check, bench.shelf)
            times = [time for part in parts for time in part.pts]
            notes += notes_on_target(plan, times, [one.defects for one in rendered])
        signed = self._sign(bench, output, is_copy, bool(changed), verdict)
        outcome = Merged(
            frames, changed, 0 if joined is None else joined.track_count, models_used(plan),
            (*notes, *privacy_notes(plan)), hash_file(output), output.stat().st_size, verdict=verdict, signed=signed,
        )  # fmt: skip
        if plan.recipe.report_path is None and not plan.recipe.fail_under:
            return outcome
        return replace(outcome, failure=self._report(bench, output, report, count, outcome.sha256))

    def _sign(self, bench: _Bench, output: Path, is_copy: bool, is_changed: bool, verdict: Verdict) -> Signed:
        """The very last thing that is done to an output, whoever merges it."""
        if is_copy:
            return Signed("unchanged")  # what it says of itself is true as it is
        signing = self._policy.signing
        if signing.is_off:
            return Signed("off")
        job, stored = bench.job, bench.stored
        asked = build_recipe(job.recipe)

        def open_target() -> Any:
            key = stored.inputs.get(str(asked.target_path), "")
            return self.storage.open_range(key) if key else bench.recipe.target_path.open("rb")

        told = None if verdict.is_empty else verdict.as_dict()
        mark = stored.mark if is_changed else ""
        statement = statement_of(bench.plan, asked, stored, open_target, is_changed, job.id, told, mark)
        return sign(output, statement, signing.signer(), job.output_path)

    def _verdict(self, bench: _Bench, joined: Joined | None) -> Verdict:
        """What is stored with the output: all of it found out here.

        Raises
        ------
        PolicyError
        """
        verdict = self._ask(bench, "merge")
        item = next((item for item in self.store.items(bench.job.id) if item.stage == "join"), None)
        if item is None or joined is None or not self._policy.looks_at_people:
            return verdict
        assigned = joined.assigned
        found: Verdict = self._load(
            item, lambda path: self._ask_of_people(bench, Tracks.load(path, is_mapped=True), assigned)
        )
        return verdict.joined(found)

    def _report(
        self, bench: _Bench, output: Path, report: Path | None, count: Callable[[int], None], sha256: str
    ) -> Told | None:
        """Measure the output; what is worse than allowed is said, and the output stays."""
        recipe, job, kind = bench.recipe, bench.job, bench.plan.kind
        item = next((item for item in self.store.items(job.id) if item.stage == "join"), None)

        def measured(progress: Progress) -> None:
            count(progress.done)

        with ExitStack() as stack:
            tracks = empty_tracks(recipe, kind, bench.target)
            if item is not None:
                tracks = self._open(stack, item, lambda path: Tracks.load(path, is_mapped=True))
            joined = self.store.joined(job.id) or Joined()
            reporter = build_reporter(recipe, tracks, self._cast(bench), joined.assigned)
            assert reporter is not None
            exemptions = [one.as_dict() for one in self._cast(bench).exemptions(recipe, tracks)]
            measure_output(recipe, tracks, reporter, output, measured, kind, bench.shelf)
        failure = None
        try:
            asked = recipe.model_copy(update={"output_path": job.output_path, "report_path": report})
            notes = (*bench.stored.notes, *joined.notes)
            told = build_recipe(job.recipe)
            evidence = {
                "target_sha256": bench.stored.hashes.get(str(told.target_path), ""),
                "output_sha256": sha256,
                "facefusion": __version__,
                "job": job.id,
                "seed": next((step.options.seed for step in recipe.steps if hasattr(step.options, "seed")), None),
                "recipe": told_recipe(told),
                "models": list(models_used(bench.plan)),
                "exemptions": exemptions,
            }
            save_report(asked, reporter, models_used(bench.plan), job.target_path.name, notes, evidence)
        except FaceFusionError as error:
            failure = Told.of(error)
        if recipe.report_path is not None and job.is_shared:
            for path in report_files(recipe.report_path):
                self.storage.put(report_key(job.id, path), path)
        return failure

    @contextmanager
    def _heart(self, job_id: str, stage: StageName, left: Sequence[int]) -> Iterator[_Heart]:
        heart = _Heart(self.store, self.owner, job_id, stage, left, self._lease_s)
        heart.start()
        try:
            yield heart
        finally:
            heart.stop()


class _Heart:
    """Keeps the lease of some items alive from a thread of its own, and hears when they are to be dropped."""

    def __init__(
        self, store: JobStore, owner: str, job_id: str, stage: StageName, left: Sequence[int], lease_s: float
    ) -> None:
        self._store, self._owner, self._job_id, self._stage = store, owner, job_id, stage
        self._left, self._lease_s = left, lease_s
        self._done = self._before = 0
        self._lost: dict[int, BaseException] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def count(self, done: int) -> None:
        """Called after each frame; raises when the work is not wanted any more."""
        self._done = done
        for number in self._left:
            if number in self._lost:
                raise self._lost[number]

    def next(self) -> None:
        """An item is finished."""
        self._before = self._done

    def _run(self) -> None:
        while not self._is_over.wait(BEAT_S):
            for place, number in enumerate(list(self._left)):
                try:
                    progress = self._done - self._before if place == 0 else 0
                    self._store.beat((self._job_id, self._stage, number), self._owner, self._lease_s, max(progress, 0))
                except (LeaseLost, UnknownJob) as error:
                    # Or it was finished a moment ago; then it is no longer in hand when somebody asks.
                    self._lost[number] = error
                except Exception:
                    break  # the store is away; work goes on, the lease may run out
