"""Processes that do tasks, each told over a pipe of its own, watched by its heartbeat, and replaced when it dies.

Nothing is shared between processes, so nothing can be taken along by one that dies or stops. A thread of the parent
listens to all of them. It waits for nobody and asks no store, so it also finds a process that stopped while it held a
lock of the store. Times are of the parent's own waking life: when the machine slept or the parent was stopped, nobody
is blamed for it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from types import TracebackType
from typing import Any, Protocol

from facefusion.documents import reason_of
from facefusion.errors import JobError, own_error

BEAT_S = 1.0
"""A process says this often that it lives."""
SILENT_S = 20.0
"""A process that was not heard of for so long has stopped. Less than the store's patience: it may hold its lock."""
START_S = 180.0
"""The same for one that was started and has not said anything yet."""
IDLE_S = 600.0
"""A process that beats, but in this time neither counted a frame nor used the processor, hangs."""
IDLE_SHARE = 0.05
"""Share of a core that its heart may use without being taken for work."""
STOP_S = 4.0
"""Processes may take so long to put things away."""
LOOK_S = 0.2
GAP_S = 1.0
"""Of a longer pause between two looks the parent itself was not there."""
MAX_MESSAGE = 3000
"""Bytes of a message: up to 4096 a pipe takes it whole, so one that is stopped never leaves half of it."""
LACK_OF_MEMORY = "lack of memory"
"""Why Linux kills processes by SIGKILL when nobody asks for it."""
Task = tuple[Any, ...]


class Hand(Protocol):
    """What does the tasks in a process.

    Attributes
    ----------
    owner
        Its name in the store.
    signs
        A number that grows as long as it gets on.
    """

    owner: str
    signs: int

    def perform(self, *task: Any) -> Any:
        """Do a task."""

    def stop(self) -> None:
        """Called from another thread: drop what is in hand as soon as possible."""

    def close(self) -> None:
        """Put things away."""


Build = Callable[[Any, int], Hand]


@dataclass(frozen=True, slots=True)
class Done:
    """A task came to its end.

    Attributes
    ----------
    owner, task
        Who did what.
    told
        What went wrong, as `facefusion.jobs.stored.Told` puts it, or nothing. Failures of the task itself are not here.
    """

    owner: str
    task: Task
    told: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """A process is dead.

    Attributes
    ----------
    owner
        Its name in the store; nothing when it never came so far.
    task
        What it had been given, or None.
    how
        The end of it in words, to follow a subject.
    """

    owner: str
    task: Task | None
    how: str


@dataclass(eq=False)
class _Child:
    place: int
    process: Any
    orders: Any
    news: Any
    heard_at: float
    worked_at: float
    task: Task | None = None
    owner: str = ""
    has_beaten: bool = False
    signs: int = 0
    cpu_s: float = 0.0
    told: str = ""


class Pool:
    """Up to so many processes; they are started when there is something to do.

    Parameters
    ----------
    count
        Places for processes.
    build
        Called in each process with the settings and the number of its place; importable by name.
    settings
        For it; anything that can be pickled.
    clock
        Seconds that only go forward.

    Attributes
    ----------
    owners
        Names of all processes that there have been.
    """

    def __init__(self, count: int, build: Build, settings: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._clock = count, clock
        # Packed, so that a new process has its heart before it imports what takes long.
        self._parcel = pickle.dumps((build, settings))
        self._context = multiprocessing.get_context("spawn")
        self.owners: list[str] = []
        self._children: list[_Child] = []
        self._lock = threading.Lock()
        self._events: queue.SimpleQueue[Done | Gone] = queue.SimpleQueue()
        self._is_over = threading.Event()
        self._awake_s, self._looked_at = 0.0, clock()
        self._watch = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Pool:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def room(self) -> int:
        """How many tasks can be given."""
        with self._lock:
            return self._count - sum(child.task is not None for child in self._children)

    @property
    def tasks(self) -> list[Task]:
        """What has been given and is not done."""
        with self._lock:
            return [child.task for child in self._children if child.task is not None]

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        with self._lock:
            return [child.process.pid for child in self._children]

    def give(self, *task: Any) -> None:
        """Have a task done, by a process that has nothing to do or by a new one.

        Raises
        ------
        JobError, OutOfMemory
            When no process can be started.
        """
        with self._lock:
            child = next((child for child in self._children if child.task is None), None) or self._start()
            child.task, child.worked_at = task, self._awake_s
            with suppress(OSError, ValueError):  # it has died just now; the watch finds it
                child.orders.send(task)

    def wait(self, timeout_s: float) -> list[Done | Gone]:
        """What has happened since, or happens within this time."""
        found: list[Done | Gone] = []
        with suppress(queue.Empty):
            found.append(self._events.get(timeout=timeout_s))
            while True:
                found.append(self._events.get_nowait())
        return found

    def stop(self) -> None:
        """Have all processes drop what they do; those that do not within `STOP_S` are killed."""
        self._is_over.set()
        try:
            if self._watch.is_alive():
                self._watch.join()
            for child in self._children:
                with suppress(OSError, ValueError):
                    child.orders.send(None)
            until = time.monotonic() + STOP_S
            while self._children and time.monotonic() < until:
                connection.wait([child.process.sentinel for child in self._children], LOOK_S)
                for child in list(self._children):
                    is_dead = _is_dead(child)
                    self._hear(child)  # nobody is to wait for room in a pipe
                    if is_dead:
                        self._bury(child)
        finally:
            for child in list(self._children):
                child.process.kill()
            for child in list(self._children):
                self._bury(child)

    def _start(self) -> _Child:
        taken = {child.place for child in self._children}
        place = next(number for number in range(self._count) if number not in taken)
        ends: list[Any] = []
        try:
            hears, orders = self._context.Pipe(duplex=False)
            ends += [hears, orders]
            news, tells = self._context.Pipe(duplex=False)
            ends += [news, tells]
            process = self._context.Process(
                target=_live, args=(hears, tells, os.getpid(), place, self._parcel), name=f"place {place}", daemon=True
            )
            with unheard(signal.SIGINT):
                process.start()
        except Exception as error:
            for end in ends:
                end.close()
            found = own_error(error)
            if found.code == "out_of_memory":
                raise found from error
            raise JobError(
                f"A process cannot be started: {reason_of(error)}.", "Use --workers 1, which works in a single process."
            ) from error
        hears.close()
        tells.close()
        child = _Child(place, process, orders, news, self._awake_s, self._awake_s)
        self._children.append(child)
        return child

    def _run(self) -> None:
        while not self._is_over.is_set():
            with self._lock:
                handles = [handle for child in self._children for handle in (child.news, child.process.sentinel)]
            if handles:
                connection.wait(handles, LOOK_S)
            else:
                self._is_over.wait(LOOK_S / 4)
            self.look()

    def look(self) -> None:
        """Hear everybody, find who has died, and end who has stopped."""
        now = self._clock()
        self._awake_s += min(max(now - self._looked_at, 0.0), GAP_S)
        self._looked_at = now
        with self._lock:
            for child in list(self._children):
                is_dead = _is_dead(child)  # asked first, so that all that it has said is heard
                is_heard = self._hear(child)
                how = "" if is_dead else "broke its pipe and was ended" if not is_heard else self._judge(child)
                if how:
                    child.process.kill()
                if is_dead or how:
                    ending = self._bury(child)
                    self._events.put(Gone(child.owner, child.task, how or child.told or ending))

    def _judge(self, child: _Child) -> str:
        """Why a process is to be ended, or nothing."""
        silent_s, patience_s = self._awake_s - child.heard_at, SILENT_S if child.has_beaten else START_S
        if silent_s > patience_s:
            return f"gave no sign of life for {silent_s:.0f} s and was ended"
        idle_s = self._awake_s - child.worked_at
        if child.task is not None and idle_s > IDLE_S:
            return f"did nothing for {idle_s:.0f} s and was ended"
        return ""

    def _hear(self, child: _Child) -> bool:
        """Take what a process has said; False where it cannot be heard any more."""
        try:
            while child.news.poll():
                word, *values = child.news.recv()
                child.heard_at, child.has_beaten = self._awake_s, True
                if word == "beat":
                    self._feel(child, *values)
                elif word == "ready":
                    child.owner = values[0]
                    self.owners.append(child.owner)
                elif word == "told":
                    child.told = values[0]
                elif child.task is not None:
                    self._events.put(Done(child.owner, child.task, values[0]))
                    child.task = None
        except Exception:  # it has closed its end, or what it sends is no message: whatever that raises, it is lost
            return False
        return True

    def _feel(self, child: _Child, signs: int, cpu_s: float) -> None:
        used_s, passed_s = cpu_s - child.cpu_s, self._awake_s - child.worked_at
        if signs != child.signs or used_s > 0.5 + IDLE_SHARE * passed_s:
            child.signs, child.cpu_s, child.worked_at = signs, cpu_s, self._awake_s

    def _bury(self, child: _Child) -> str:
        """Let go of a dead process; how it ended, in words."""
        self._children.remove(child)
        child.orders.close()
        child.news.close()
        with suppress(Exception):  # somebody else may have asked the system for its end
            child.process.join(STOP_S)
        return describe_end(child.process.exitcode)


def describe_end(code: int | None) -> str:
    """How a process ended, in words.

    Parameters
    ----------
    code
        Its exit code, the negative number of a signal, or None where nobody knows.
    """
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed ({name})" + (f", perhaps for {LACK_OF_MEMORY}" if name == "SIGKILL" else "")


def _is_dead(child: _Child) -> bool:
    return bool(connection.wait([child.process.sentinel], 0))


@contextmanager
def unheard(*signals: signal.Signals) -> Iterator[None]:
    """What is started meanwhile does not hear some signals, which are sent to all: they are for the parent."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # where it has to be started, that lets both signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the process


class _Voice:
    """Sends what several threads have to say."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def say(self, *message: Any) -> None:
        with self._lock:
            try:
                self._pipe.send(message)
            except OSError:
                os._exit(1)  # nobody listens: the parent is gone


def _live(orders: Any, news: Any, parent_pid: int, place: int, parcel: bytes) -> None:
    """What a process of the pool does, from its first to its last moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _die_with(parent_pid)
    voice, hands, tasks = _Voice(news), list[Hand](), queue.SimpleQueue[Task | None]()
    for target in (_beat, _listen):
        arguments = (voice, hands) if target is _beat else (orders, hands, tasks)
        threading.Thread(target=target, args=arguments, name=target.__name__.strip("_"), daemon=True).start()
    try:
        build, settings = pickle.loads(parcel)
        hand = build(settings, place)
    except BaseException as error:
        voice.say("told", f"could not begin: {_short(str(own_error(error)))}")
        os._exit(1)
    hands.append(hand)
    voice.say("ready", hand.owner)
    while (task := tasks.get()) is not None:
        told = None
        try:
            hand.perform(*task)
        except BaseException as error:  # also those of libraries that are no Exception
            own = own_error(error)
            told = {"code": own.code, "message": _short(own.message), "hint": _short(own.hint)}
            told["trace"] = _short(getattr(own, "trace", "")[-MAX_MESSAGE // 4 :])
        voice.say("done", told)
    with suppress(Exception):
        hand.close()
    os._exit(0)  # native libraries sometimes fall when Python takes them down


def _beat(voice: _Voice, hands: list[Hand]) -> None:
    while True:
        voice.say("beat", hands[0].signs if hands else 0, time.process_time() - time.thread_time())
        time.sleep(BEAT_S)


def _listen(orders: Any, hands: list[Hand], tasks: queue.SimpleQueue[Task | None]) -> None:
    while True:
        try:
            task = orders.recv()
        except (EOFError, OSError):
            os._exit(1)  # the parent is gone: nobody waits for this
        if task is None:
            if not hands:
                os._exit(0)
            hands[0].stop()
        tasks.put(task)


def _short(text: str) -> str:
    return text.encode()[: MAX_MESSAGE // 4].decode(errors="ignore")


def _die_with(parent_pid: int) -> None:
    """Have Linux kill this process when its parent dies, even if it is stopped or hangs."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent_pid:
        os._exit(1)  # it died before
