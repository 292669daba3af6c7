"""Two jobs of a cluster that would write one output."""

from __future__ import annotations

import multiprocessing

import pytest
from tests.clusters import make_backend, small_request
from tests.servers import PostgreSQL, need

from facefusion.errors import JobError
from facefusion.jobs.storage import FolderStorage
from facefusion.jobs.store import JobStore
from facefusion.service.jobs import Jobs


@pytest.fixture
def backend(tmp_path):
    return make_backend(tmp_path)


def ask(tmp_path, name, output):
    return small_request(tmp_path, output, name, 4 + len(name))


def test_the_second_of_two_jobs_of_a_cluster_is_refused(backend, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Jobs(backend) as jobs:
        first = jobs.submit(ask(tmp_path, "a", tmp_path / "real" / "o.mp4")).job.id
        assert jobs.submit(ask(tmp_path, "a", tmp_path / "real" / "o.mp4")).job.id == first  # the same request
        with pytest.raises(JobError, match=rf"Another job \({first}\) is writing .*real/o\.mp4 just now") as told:
            jobs.submit(ask(tmp_path, "bb", tmp_path / "link" / "o.mp4"))
        assert told.value.hint == (
            f"Wait until it is done, end it (facefusion jobs cancel {first}), or choose another --output."
        )
        assert FolderStorage(tmp_path / "shared").folders() == (first,)  # nothing was sent
        jobs.submit(ask(tmp_path, "bb", tmp_path / "real" / "other.mp4"))
        jobs.cancel(first)
        second = jobs.submit(ask(tmp_path, "bb", tmp_path / "link" / "o.mp4")).job.id
        with pytest.raises(JobError, match=rf"Another job \({second}\) is writing"):
            jobs.submit(ask(tmp_path, "a", tmp_path / "real" / "o.mp4"))  # it would go on
        with pytest.raises(JobError, match="Another job"):
            jobs.retry(first)
        jobs.cancel(second)
        assert jobs.retry(first).status == "queued"


def _create(url, number, barrier, told):
    store = JobStore(url)
    barrier.wait()
    try:
        store.create(f"{number:016x}", {"output_path": "/o.mp4"}, {"output_place": "ab" * 16}, "file:///s", [1])
        told.put("made")
    except JobError:
        told.put("refused")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_many_at_the_same_moment_one_gets_the_place(tmp_path, kind):
    if kind == "postgresql":
        need("initdb", "postgres")
    server = PostgreSQL(tmp_path / "server") if kind == "postgresql" else None
    try:
        if server:
            server.start()
        url = server.url if server else f"sqlite:///{tmp_path}/store.db"
        JobStore(url).close()
        context = multiprocessing.get_context("spawn")
        barrier, told = context.Barrier(6), context.Queue()
        makers = [context.Process(target=_create, args=(url, number, barrier, told)) for number in range(6)]
        for maker in makers:
            maker.start()
        answers = sorted(told.get(timeout=120) for _ in makers)
        for maker in makers:
            maker.join()
        assert answers == ["made", *["refused"] * 5]
    finally:
        if server:
            server.stop()
