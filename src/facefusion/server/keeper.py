"""Beside the requests: processes that do orders, messages that are sent, things whose time has come."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from contextlib import suppress
from typing import Any

from facefusion.errors import FaceFusionError
from facefusion.jobs.pool import unheard
from facefusion.server import webhooks
from facefusion.server.hands import OF_THE_PARENT
from facefusion.server.life import expire
from facefusion.server.orders import do_orders
from facefusion.server.state import Service

LOOK_S = 0.2
EXPIRE_EVERY_S = 60.0
SWEEP_EVERY_S = 3600.0
STOP_S = 6.0
RESTART_S = 1.0
"""A place whose process ended is filled again after this time, twice as long each time it ends soon."""
log = logging.getLogger("facefusion.server")


class Keeper:
    """Keeps a service going.

    Parameters
    ----------
    service
        Which.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._context: Any = multiprocessing.get_context("spawn")
        self._is_over = threading.Event()
        self._places = [_Place(number) for number in range(service.config.jobs_at_once)]
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("places", self._fill), ("webhooks", self._deliver), ("expiry", self._expire))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Leave what is in hand to the next start; processes that do not end in time are ended."""
        self._is_over.set()
        for thread in self._threads:
            if thread.ident is not None and thread.name == "places":
                thread.join()  # nobody starts a process any more
        for place in self._places:
            place.ask_to_stop()
        until = time.monotonic() + STOP_S
        for place in self._places:
            place.end(max(until - time.monotonic(), 0.1))
            if place.owner:
                with suppress(FaceFusionError):
                    self._service.ledger.free_orders(place.owner)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(STOP_S)

    def _fill(self) -> None:
        while not self._is_over.wait(LOOK_S):
            for place in self._places:
                place.hear()
                if place.process is not None and not place.process.is_alive():
                    self._bury(place)
                if place.process is None and time.monotonic() >= place.due_at and not self._is_over.is_set():
                    with suppress(OSError):  # no room for a process just now
                        place.start(self._context, self._service.config)

    def _bury(self, place: _Place) -> None:
        log.warning("a process that does jobs ended with %s and is replaced", place.process.exitcode)
        if place.owner:
            with suppress(FaceFusionError):
                self._service.ledger.free_orders(place.owner)
        place.forget()

    def _deliver(self) -> None:
        while not self._is_over.is_set():
            try:
                is_sent = webhooks.deliver_next(self._service.ledger, self._service.config.allow_private_webhooks)
            except FaceFusionError:
                is_sent = False
            except Exception as error:  # of one message; it is due again, and those of others are not kept waiting
                log.error("a message could not be sent: %s", type(error).__name__, exc_info=error)
                is_sent = False
            if not is_sent:
                self._is_over.wait(LOOK_S * 5)

    def _expire(self) -> None:
        swept_at = time.monotonic()
        # At once, too: others may have taken away what this machine still has copies of.
        wait_s = 0.0
        while not self._is_over.wait(wait_s):
            wait_s = EXPIRE_EVERY_S
            with suppress(FaceFusionError):
                expire(self._service)
            if time.monotonic() - swept_at > SWEEP_EVERY_S and not self._service.config.backend.is_cluster:
                swept_at = time.monotonic()
                with suppress(FaceFusionError):
                    self._service.jobs.sweep()


class _Place:
    """Where one process does orders."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.process: Any = None
        self._pipe: Any = None
        self.owner = ""
        self.due_at = self._began_at = 0.0
        self._wait_s = RESTART_S

    def start(self, context: Any, config: Any) -> None:
        self._pipe, other = context.Pipe()
        self.process = context.Process(
            target=do_orders, args=(config, self._number, other), name=f"orders {self._number}"
        )
        with unheard(*OF_THE_PARENT):
            self.process.start()
        other.close()
        self._began_at = time.monotonic()

    def hear(self) -> None:
        """Learn its name."""
        if self._pipe is not None and not self.owner:
            with suppress(EOFError, OSError):
                if self._pipe.poll():
                    self.owner = self._pipe.recv()

    def forget(self) -> None:
        lived_s = time.monotonic() - self._began_at
        self._wait_s = RESTART_S if lived_s > 60 else min(self._wait_s * 2, 60.0)
        self.due_at = time.monotonic() + self._wait_s
        self._pipe.close()
        self.process.close()
        self.process = self._pipe = None
        self.owner = ""

    def ask_to_stop(self) -> None:
        self.hear()
        if self._pipe is not None:
            with suppress(OSError, ValueError):
                self._pipe.send("stop")

    def end(self, patience_s: float) -> None:
        if self.process is None:
            return
        self.process.join(patience_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
