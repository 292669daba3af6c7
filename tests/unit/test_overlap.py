import threading
import time

import pytest

from facefusion.render.overlap import WAITING, map_in_order, prefetch


def test_results_keep_their_order():
    def work(n: int) -> int:
        time.sleep(0.001 * (n % 3))
        return n * n

    assert list(map_in_order(work, range(50), 4)) == [n * n for n in range(50)]


def test_items_are_drawn_only_as_fast_as_results_are_taken():
    drawn = []

    def items():
        for n in range(1000):
            drawn.append(n)
            yield n

    results = map_in_order(lambda n: n, items(), 2)
    for _ in range(5):
        next(results)
    assert len(drawn) <= 5 + 2 + WAITING + 1
    results.close()


def test_an_error_in_the_work_comes_through():
    def work(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(work, range(10), 2))


def test_prefetch_passes_items_and_errors_on():
    def items():
        yield 1
        yield 2
        raise OSError("gone")

    taken = []
    with pytest.raises(OSError, match="gone"):
        for item in prefetch(items(), 1):
            taken.append(item)
    assert taken == [1, 2]


def test_prefetch_ends_its_thread_when_nobody_reads_on():
    before = threading.active_count()
    reading = prefetch(iter(range(10_000)), 2)
    assert next(reading) == 0
    reading.close()
    assert threading.active_count() == before
