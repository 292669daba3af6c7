"""Verified ONNX Runtime sessions. A requested provider that does not run is an error, never a silent CPU run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from facefusion.documents import reason_of
from facefusion.errors import ModelMismatch, ProviderRefused, check_memory
from facefusion.models.providers import (
    DTYPES,
    MIN_SHARE,
    PROVIDERS,
    check_providers,
    measure_shares,
    provider_options,
    warm_up_inputs,
)
from facefusion.models.spec import ModelSpec
from facefusion.models.spent import looked_up, running
from facefusion.models.store import ModelStore

FloatArray = npt.NDArray[np.float32]
ON_DEVICE = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
MAX_BATCH = 16
WARM_UP_S = 600.0
"""Time for the first answer of a model: providers that compile take minutes, a model that hangs for ever."""


class _Value(NamedTuple):
    """An input or output of a graph."""

    name: str
    shape: tuple[Any, ...]
    type: str


class Session:
    """A model that is loaded and runs; safe to share between threads.

    Parameters
    ----------
    spec
        The model.
    content
        Its graph, verified (see `ModelStore.read`).
    providers
        Our provider names in order of preference. The first one must really run unless another
        name follows it, which is how a user allows a fallback.
    thread_count
        Threads inside one call.
    device_id
        Which device of the provider.
    is_half
        Whether a model of 32 bits is run in 16, by providers that can.

    Raises
    ------
    ModelMismatch, ProviderRefused
    """

    def __init__(
        self,
        spec: ModelSpec,
        content: bytes,
        providers: Sequence[str] = ("cpu",),
        thread_count: int = 1,
        device_id: int = 0,
        is_half: bool = False,
    ) -> None:
        check_providers(providers)
        # A graph of 8 bits gains nothing, and OpenVINO 2025.4 never comes back from some of them.
        is_half = (is_half and b"QuantizeLinear" not in content) or spec.precision == "fp16"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(thread_count, 1)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads would take the cores that decode and encode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        wanted = [
            (PROVIDERS[name], provider_options(name, device_id, is_half, thread_count))
            for name in providers
            if PROVIDERS[name] in available
        ]
        try:
            if wanted[0][0] != PROVIDERS["cpu"] and "cpu" not in providers:
                _check_really_runs(spec, measure_shares(content, options, wanted), wanted[0][0], providers[0])
            self._session = onnxruntime.InferenceSession(content, options, providers=wanted, enable_fallback=0)
            ins, outs = (
                [_Value(value.name, tuple(value.shape), value.type) for value in values]
                for values in (self._session.get_inputs(), self._session.get_outputs())
            )  # names may be of any bytes
        except ProviderRefused:
            raise
        except Exception as error:  # ONNX Runtime raises its own untyped errors
            check_memory(error, f"model {spec.id} could not be loaded")
            raise ModelMismatch(
                f"Model {spec.id} cannot be loaded: {reason_of(error)}.", "See 'facefusion doctor'."
            ) from error
        used = self._session.get_providers()
        if used[0] not in {PROVIDERS[name] for name in providers}:
            raise ProviderRefused(
                f"Model {spec.id} was asked to run on {providers[0]} but runs on {used[0]}.",
                f"Add 'cpu' after '{providers[0]}' to allow that, or see 'facefusion doctor'.",
            )
        self.spec, self.provider, self.size_bytes = spec, used[0], len(content)
        self.inputs = _with_places(_check_side(spec, "input", spec.inputs, ins), ins)
        self.outputs = _check_side(spec, "output", spec.outputs, outs)
        self._types = {value.name: DTYPES.get(value.type, np.float32) for value in ins}
        self._shapes = {value.name: value.shape for value in ins}
        self._is_bound = self.provider in ON_DEVICE
        first = ins[0].shape if ins else ()
        self.is_batched = not (first and isinstance(first[0], int))

    @property
    def graph(self) -> Any:
        """The ONNX Runtime session itself, for measuring."""
        return self._session

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Shape of an input as the graph declares it, ``None`` for free lengths."""
        return tuple(n if isinstance(n, int) else None for n in self._shapes[self.inputs[name]])

    def has_input(self, name: str) -> bool:
        """Whether the graph has an input of this name, declared or not."""
        return name in self._types

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[FloatArray]:
        """Run the model once.

        Parameters
        ----------
        inputs
            By the names of the specification; types are cast to what the graph takes.

        Returns
        -------
        float32 outputs in the order of the specification.
        """
        named = {self.inputs.get(name, name): value for name, value in inputs.items()}
        strange = set(named) - set(self._types)
        if strange:
            raise ModelMismatch(f"Model {self.spec.id} has no input '{sorted(strange)[0]}'.", _WRONG)
        feed = {name: np.ascontiguousarray(value, dtype=self._types[name]) for name, value in named.items()}
        names = list(self.outputs.values())
        try:
            with running(self.spec.id):
                results = self._run_bound(feed, names) if self._is_bound else self._session.run(names, feed)
        except Exception as error:  # ONNX Runtime raises its own untyped errors
            check_memory(error, f"model {self.spec.id} could not be run")
            raise ModelMismatch(f"Model {self.spec.id} cannot be run: {reason_of(error)}.", _WRONG) from error
        return self._checked([np.asarray(result, dtype=np.float32) for result in results])

    def _checked(self, results: list[FloatArray]) -> list[FloatArray]:
        """Refuse answers that are no numbers; what ships with the package is known to give none."""
        if self.spec.origin != "embedded":
            for name, result in zip(self.outputs, results, strict=True):
                if result.size and not np.isfinite(result.sum(dtype=np.float64)):
                    raise ModelMismatch(
                        f"Model {self.spec.id}: output '{name}' holds values that are no numbers.", _WRONG
                    )
        return results

    def warm_up(self, limit_s: float = WARM_UP_S) -> None:
        """Run once with noise: a model that never answers, or not with numbers, is refused before the first frame.

        Parameters
        ----------
        limit_s
            Time after which the run is ended.

        Raises
        ------
        ModelMismatch
        """
        limit = onnxruntime.RunOptions()
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            limit.terminate = True

        clock = threading.Timer(limit_s, end)
        clock.daemon = True
        clock.start()
        try:
            results = self._session.run(list(self.outputs.values()), warm_up_inputs(self._session), limit)
        except Exception as error:  # ONNX Runtime raises its own untyped errors
            if is_late.is_set():
                raise ModelMismatch(
                    f"Model {self.spec.id} has not answered within {limit_s:.0f} s.", "It is damaged, or far too large."
                ) from error
            check_memory(error, f"model {self.spec.id} could not be run")
            raise ModelMismatch(f"Model {self.spec.id} cannot be run: {reason_of(error)}.", _WRONG) from error
        finally:
            clock.cancel()
        self._checked([np.asarray(result, dtype=np.float32) for result in results])

    def run_batch(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[FloatArray]:
        """Run over the first axis: at once where the graph allows it, one by one where its batch is fixed."""
        count = len(next(iter(inputs.values())))
        step = MAX_BATCH if self.is_batched else 1
        parts = [self.run({name: value[k : k + step] for name, value in inputs.items()}) for k in range(0, count, step)]
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate([part[k] for part in parts]) for k in range(len(parts[0]))]

    def _run_bound(self, feed: dict[str, npt.NDArray[Any]], names: list[str]) -> list[npt.NDArray[Any]]:
        """Inputs go to the device once and outputs stay there until all are ready."""
        binding = self._session.io_binding()
        for name, value in feed.items():
            binding.bind_cpu_input(name, value)
        for name in names:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        outputs: list[npt.NDArray[Any]] = binding.copy_outputs_to_cpu()
        return outputs


def _check_really_runs(spec: ModelSpec, shares: Mapping[str, float], full: str, name: str) -> None:
    share = shares.get(full, 0.0)
    if share < MIN_SHARE:
        others = ", ".join(f"{provider} {part:.0%}" for provider, part in shares.items() if provider != full)
        raise ProviderRefused(
            f"Model {spec.id} was asked to run on {name}, but that takes {share:.0%} of the work ({others}).",
            f"Add 'cpu' after '{name}' to allow that, or see 'facefusion doctor'.",
        )


def _check_side(
    spec: ModelSpec, kind: str, declared: Mapping[str, tuple[int | None, ...]], found: Sequence[_Value]
) -> dict[str, str]:
    """Names in the specification to names in the graph; a name ``#k`` stands for the k-th.

    Raises
    ------
    ModelMismatch
        Naming what differs.
    """
    shapes = {value.name: [n if isinstance(n, int) else None for n in value.shape] for value in found}
    names = {}
    for name, shape in declared.items():
        actual = name
        if name.startswith("#"):
            number = int(name[1:])
            if number >= len(found):
                raise ModelMismatch(f"Model {spec.id} has {len(found)} {kind}s, not {number + 1} or more.", _WRONG)
            actual = found[number].name
        if actual not in shapes:
            raise ModelMismatch(f"Model {spec.id} has no {kind} '{name}', only {', '.join(shapes)}.", _WRONG)
        pairs = zip(shape, shapes[actual], strict=False)
        if shape and (
            len(shape) != len(shapes[actual]) or any(a is not None and b is not None and a != b for a, b in pairs)
        ):
            raise ModelMismatch(
                f"Model {spec.id}: {kind} '{actual}' is {_say(shapes[actual])}, expected {_say(shape)}.", _WRONG
            )
        names[name] = actual
    return names


def _with_places(names: Mapping[str, str], found: Sequence[_Value]) -> dict[str, str]:
    """Names of inputs, and places: families ask for these, and an entry may name what they ask for, in that order."""
    order = [*names.values(), *(value.name for value in found if value.name not in names.values())]
    return {**{f"#{number}": actual for number, actual in enumerate(order)}, **names}


_WRONG = "This is another graph than its entry describes; compare with 'facefusion models show'."


def _say(shape: Sequence[int | None]) -> str:
    return " x ".join("?" if n is None else str(n) for n in shape)


class SessionCache:
    """One session for each model and device, shared by all threads; the least recently used goes first.

    Parameters
    ----------
    budget_bytes
        How much the graphs of all sessions may weigh; the one in use is always kept.
    """

    def __init__(self, budget_bytes: int = 4 << 30) -> None:
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._sessions: OrderedDict[tuple[object, ...], Future[Session]] = OrderedDict()

    def get(
        self,
        spec: ModelSpec,
        store: ModelStore,
        providers: Sequence[str] = ("cpu",),
        thread_count: int = 1,
        device_id: int = 0,
        is_half: bool = False,
    ) -> Session:
        """The session of a model; loaded by the first thread that asks, waited for by the others.

        A file that has changed since gets a new session; whoever holds the old one finishes with it.

        Raises
        ------
        ModelError
        """
        key = (spec.key, store.stamp(spec), store.licences, tuple(providers), thread_count, device_id, is_half)
        with self._lock:
            known = self._sessions.get(key)
            mine: Future[Session] = Future() if known is None else known
            if known is None:
                self._sessions[key] = mine
            self._sessions.move_to_end(key)
        looked_up("sessions", known is not None)
        if known is None:
            try:
                content = store.read(spec)
                session = Session(spec, content, providers, thread_count, device_id, is_half)
                if spec.origin != "embedded":
                    session.warm_up()
                    store.trust(spec, content)
                mine.set_result(session)
            except BaseException as error:
                with self._lock:
                    self._sessions.pop(key, None)
                mine.set_exception(error)
            self._trim(key)
        return mine.result()

    def _trim(self, newest: tuple[object, ...]) -> None:
        with self._lock:
            loaded = {
                key: future.result().size_bytes
                for key, future in self._sessions.items()
                if future.done() and future.exception() is None
            }
            spec_name = newest[0]
            total = sum(loaded.values())
            for key in list(self._sessions):
                is_outdated = key != newest and key[0] == spec_name and key[2:] == newest[2:] and key in loaded
                if (total > self._budget and key != newest and key in loaded) or is_outdated:
                    del self._sessions[key]
                    total -= loaded[key]

    def clear(self) -> None:
        """Let all sessions go."""
        with self._lock:
            self._sessions.clear()


SESSIONS = SessionCache()
"""The warm cache of this process. It holds models, never anything of a job."""
