"""How long things live: what expires, what a tenant leaves, and that nothing of it stays."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from facefusion.errors import Conflict, FaceFusionError, JobError, NotThere, UnknownJob
from facefusion.jobs.storage import FolderStorage
from facefusion.server.intake import drop
from facefusion.server.orders import cancel_order, clear_leavings, clear_order
from facefusion.server.pieces import pieces_of
from facefusion.workplace import clear_dead

if TYPE_CHECKING:
    from facefusion.server.state import Service

STOP_S = 20.0
"""How long to wait for whoever is at an order."""
LOOKED_AT_S = 1800.0
"""Copies for previews are kept for so long after the last look."""
UNRECORDED_S = 120.0
"""Bytes of an upload that nobody knows are kept for so long after the last of them: it may be just being begun."""
REPLAYS_S = 24 * 3600.0
"""A request may be sent again for so long."""


def remove_order(service: Service, tenant: str, order_id: str, has_inputs: bool = False) -> None:
    """Take an order away: it is stopped, its job deleted with all working files, its output and report deleted.

    Parameters
    ----------
    service, tenant, order_id
        Which.
    has_inputs
        With the uploads that it read and no other order does, and with all that was made of them.

    Raises
    ------
    NotThere
    Conflict
        When whoever is at it does not stop in time; it is cancelled then.
    """
    ledger = service.ledger
    order = ledger.get_order(tenant, order_id)
    until = time.monotonic() + STOP_S
    if order.status not in ("done", "failed", "cancelled"):
        cancel_order(ledger, tenant, order_id)
        while ledger.get_order(tenant, order_id).status not in ("done", "failed", "cancelled"):
            if time.monotonic() > until:
                raise Conflict(f"Job {order_id} is just being stopped.", "Try again in a moment.")
            time.sleep(0.1)
    order = ledger.get_order(tenant, order_id)
    if order.job_id:
        with suppress(UnknownJob):
            try:
                service.jobs.delete(order.job_id)
            except UnknownJob:
                raise
            except JobError as error:
                raise Conflict(f"Job {order_id} is just being stopped.", "Try again in a moment.") from error
    inputs = ledger.inputs_of(tenant, order_id) if has_inputs else []
    ledger.remove_order(tenant, order_id)
    for asset_id in inputs:
        with suppress(NotThere, Conflict):  # another job reads it
            drop(service, ledger.remove_asset(tenant, asset_id, is_unused=True))
    with suppress(NotThere, Conflict):  # another job reads it: it is deleted when its time comes
        drop(service, ledger.remove_asset(tenant, order_id))
    clear_order(service.config, order_id)


def expire(service: Service) -> int:
    """Take away what has had its time; how much that was."""
    ledger, count = service.ledger, 0
    for asset in ledger.expired_assets():
        with suppress(NotThere, Conflict):
            drop(service, ledger.remove_asset(asset.tenant, asset.id, ledger.now()))
            count += 1
    for order in ledger.old_orders(service.config.backend.keep_days * 86400):
        with suppress(FaceFusionError):
            remove_order(service, order.tenant, order.id)
            count += 1
    now = ledger.now()
    known = set()
    for upload in ledger.uploads():
        if upload.expires_at < now:
            pieces_of(service).remove(upload)
            ledger.remove_upload(upload.id)
            count += 1
        else:
            known.add(upload.id)
    for path in service.uploads.iterdir():  # of an upload that was never recorded
        with suppress(OSError):
            if path.name.removesuffix(".lock") not in known and time.time() - path.stat().st_mtime > UNRECORDED_S:
                path.unlink()
                count += 1
    copies = {path: path.name[:32] for path in service.looked_at.iterdir()}  # of what is far away
    there = ledger.assets_there(set(copies.values()))
    for path, asset_id in copies.items():
        with suppress(OSError):
            # Another service may have taken the asset away.
            if asset_id not in there or time.time() - path.stat().st_mtime > LOOKED_AT_S:
                path.unlink()
                count += 1
    count += clear_leavings(service.config, ledger)
    ledger.drop_old(service.config.audit_days * 86400, REPLAYS_S)
    clear_dead(service.cache)
    if isinstance(service.storage, FolderStorage):
        clear_dead(service.storage.work)
    return count


def files_of(service: Service, tenant: str) -> int:
    """How many files of a tenant there are in the storage and on this machine."""
    count = len(service.storage.list(f"{tenant}/"))
    return count + sum(
        1 for upload in service.ledger.uploads() if upload.tenant == tenant and pieces_of(service).has(upload)
    )


def remove_tenant(service: Service, tenant: str) -> tuple[dict[str, int], dict[str, int], int, int]:
    """Take everything away that there is of a tenant.

    Returns
    -------
    Rows before and after by kind, files before and after; what is after was looked for anew.

    Raises
    ------
    Conflict
        When a job does not stop in time; what is gone by then is gone, and the call can be made again.
    """
    ledger = service.ledger
    service.flush_deeds()
    before, files = ledger.count_tenant(tenant), files_of(service, tenant)
    for key in ledger.list_keys(tenant):
        if key.revoked_at is None:
            ledger.change_key(key.id, revoked_at=ledger.now())  # nothing new comes
    for order_id in ledger.order_ids(tenant):
        with suppress(NotThere):
            remove_order(service, tenant, order_id)
    for upload in ledger.uploads():
        if upload.tenant == tenant:
            pieces_of(service).remove(upload)
    ids = {asset.id for asset in ledger.assets_of(tenant)}
    for path in service.looked_at.iterdir():
        if path.name[:32] in ids:
            path.unlink(missing_ok=True)
    if service.storage.list(f"{tenant}/"):
        service.storage.delete(f"{tenant}/")
    service.flush_deeds()
    ledger.drop_tenant(tenant)
    return before, ledger.count_tenant(tenant), files, files_of(service, tenant)
