"""What goes into the broker; with Celery's broker in memory."""

from __future__ import annotations

import pytest

from facefusion.jobs.states import Publish
from facefusion.service.cluster import build_app, publish, queue_of


class Store:
    """A job store with one job in a queue of its own."""

    def __init__(self, queue: str) -> None:
        self.queue = queue

    def find(self, job_id):
        return self

    def unpublished(self, items):
        raise AssertionError(f"not published: {items}")


class Item:
    job_id = "0123456789abcdef"


@pytest.mark.parametrize("queue", ["gpu", "gpu.large", "cpu"])
def test_a_worker_offers_what_is_in_queues_that_it_does_not_serve(queue):
    app = build_app("memory://", ["cpu"])
    with app.connection() as connection:
        channel = connection.default_channel
        channel.queue_declare(queue)
        before = channel.queue_declare(queue, passive=True).message_count
        publish(app, Store(queue), [Publish(Item())])
        assert channel.queue_declare(queue, passive=True).message_count == before + 1


@pytest.mark.parametrize(("url", "arguments"), [("amqp://host//", {"x-queue-type": "quorum"}), ("redis://host", None)])
def test_who_sends_and_who_takes_declare_a_queue_alike(url, arguments):
    app = build_app(url, ["gpu"])
    (taken,) = app.conf.task_queues
    sent = queue_of(url, "gpu")
    assert (taken.name, taken.routing_key, taken.queue_arguments) == (sent.name, sent.routing_key, sent.queue_arguments)
    assert sent.queue_arguments == arguments
