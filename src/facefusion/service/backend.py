"""Where jobs are and who does them: what a door has read from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facefusion.policy.site import NO_POLICY, SitePolicy


@dataclass(frozen=True, slots=True)
class Backend:
    """Where jobs are and who does them. With a broker it is the workers of a cluster, without one this machine.

    Attributes
    ----------
    folder
        Jobs of this machine and their working files.
    store_url
        Job store; empty for SQLite in the folder.
    broker, storage_url
        Messages and working files of a cluster.
    queue, priority
        Which workers may take a new job, and how soon, 0 to 9.
    worker_count
        Processes on this machine; 0 chooses.
    memory_bytes, disk_bytes
        What processes may take together, and working files; None for what is there.
    max_attempts
        Tries of a part.
    lease_s
        A worker that was silent for so long is taken to be lost.
    keep_days
        Age of jobs that are swept away.
    policy
        What may be done here.
    patience_s
        How long a call waits for a job store that is away.
    """

    folder: Path
    store_url: str = ""
    broker: str = ""
    storage_url: str = ""
    queue: str = "cpu"
    priority: int = 5
    worker_count: int = 0
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    max_attempts: int = 3
    lease_s: float = 15.0
    keep_days: float = 30.0
    policy: SitePolicy = NO_POLICY
    patience_s: float = 60.0

    @property
    def is_cluster(self) -> bool:
        """Whether new jobs go to workers on other machines."""
        return bool(self.broker)
