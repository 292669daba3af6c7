"""Memory that may be taken: what the machine has, and what control groups leave of it."""

import psutil
import pytest

from facefusion.jobs.memory import free_bytes

GB = 10**9


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Pretends to be a machine with 100 GB and the groups that a test writes."""

    class Free:
        available = 100 * GB

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    proc = tmp_path / "cgroup"

    def ask(told, **groups):
        proc.write_text(told)
        for place, files in groups.items():
            folder = tmp_path / "fs" / place.replace("__", "/").strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (folder / f"memory.{name}").write_text(f"{text}\n")
        return free_bytes(proc, tmp_path / "fs")

    return ask


def test_without_groups_it_is_what_the_machine_has(machine, tmp_path):
    assert machine("0::/\n") == 100 * GB
    assert free_bytes(tmp_path / "none", tmp_path / "none") == 100 * GB


def test_a_container_counts_and_so_do_those_around_it(machine):
    own = {"max": 8 * GB, "current": 5 * GB, "stat": f"anon 1\ninactive_file {2 * GB}"}
    assert machine("0::/a/b\n", a__b=own) == 5 * GB  # what is only remembered of files is given back
    around = {"max": 4 * GB, "current": 3 * GB}
    assert machine("0::/a/b\n", a=around) == 1 * GB
    assert machine("0::/a/b\n", a={"max": "max", "current": 3 * GB}) == 5 * GB
    assert machine("0::/a/b\n", a={"max": 1 * GB, "current": 3 * GB}) == 0


def test_a_container_that_is_told_by_the_name_that_its_host_uses(machine):
    assert machine("0::/host/name\n", **{"": {"max": 3 * GB, "current": 1 * GB}}) == 2 * GB


def test_groups_of_the_first_kind(machine):
    own = {"limit_in_bytes": 6 * GB, "usage_in_bytes": 4 * GB, "stat": f"total_inactive_file {GB}"}
    assert machine("4:cpu,memory:/x\n1:name=systemd:/x\n0::/\n", memory__x=own) == 3 * GB
    unlimited = {"limit_in_bytes": 2**63 - 4096, "usage_in_bytes": 4 * GB}
    assert machine("4:memory:/y\n", memory__y=unlimited) == 100 * GB
