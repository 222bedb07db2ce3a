"""flow: what overlaps with what, in which thread, in which order, and what an exception leaves."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from medseg.pipeline.flow import flow
from tests.pipeline.scans import ends

PATIENCE_S = 60.0


class Recorder:
    """Steps that note when they begin and end, and in which thread; ``during`` is called within."""

    def __init__(
        self,
        during: Callable[[str, int], None] = lambda step, item: None,
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        self.during, self.hurry = during, hurry
        self.events: list[tuple[str, int]] = []
        self.threads: dict[str, set[str]] = {"read": set(), "compute": set(), "write": set()}
        self.begun: list[int] = []

    def _step(self, name: str, item: int) -> None:
        self.threads[name].add(threading.current_thread().name)
        self.events.append((name, item))
        self.during(name, item)
        self.events.append((f"{name} done", item))

    def run(self, count: int, may_read_ahead: Callable[[Any], bool] = lambda found: True) -> list[int]:
        def read(item: int) -> int:
            self._step("read", item)
            return 10 * item

        def compute(item: int, found: int) -> int:
            assert found == 10 * item
            self._step("compute", item)
            return found + 1

        def write(item: int, computed: int) -> int:
            assert computed == 10 * item + 1
            self._step("write", item)
            return computed + 1

        return flow(
            range(count),
            read,
            compute,
            write,
            begin=self.begun.append,
            may_read_ahead=may_read_ahead,
            hurry=self.hurry,
        )


def test_results_come_in_order_and_every_turn_is_told() -> None:
    for count in (0, 1, 2, 3, 20):
        recorder = Recorder()
        assert recorder.run(count) == [10 * n + 2 for n in range(count)]
        assert recorder.begun == list(range(count))


def test_the_next_is_read_and_the_last_written_while_one_is_computed() -> None:
    happened = {(name, item): threading.Event() for name in ("read", "write") for item in range(5)}

    def during(name: str, item: int) -> None:
        if (name, item) in happened:
            happened[name, item].set()
        elif 0 < item < 4:  # neither comes to pass unless it happens meanwhile
            assert happened["read", item + 1].wait(PATIENCE_S)
            assert happened["write", item - 1].wait(PATIENCE_S)

    assert len(Recorder(during).run(5)) == 5


def test_at_most_one_is_read_ahead_and_one_waits_to_be_written() -> None:
    recorder = Recorder()
    recorder.run(30)
    for position, (name, item) in enumerate(recorder.events):
        before = recorder.events[:position]
        if name == "read" and item > 1:
            assert ("compute done", item - 2) in before
        if name == "write" and item > 0:
            assert ("write done", item - 1) in before
        if name == "compute" and item > 1:
            assert ("write done", item - 2) in before


def test_only_reading_and_writing_meet_other_threads_and_a_lone_item_meets_none() -> None:
    here = threading.current_thread().name
    recorder = Recorder()
    recorder.run(3)
    assert recorder.threads["compute"] == {here}
    assert here not in recorder.threads["read"] | recorder.threads["write"]
    assert recorder.threads["read"].isdisjoint(recorder.threads["write"])
    recorder = Recorder()
    recorder.run(1)
    assert set.union(*recorder.threads.values()) == {here}


def test_nothing_is_read_ahead_where_there_is_no_room() -> None:
    recorder = Recorder()
    recorder.run(4, may_read_ahead=lambda found: found != 10)  # not while item 1 is in work
    assert recorder.events.index(("read", 2)) > recorder.events.index(("compute done", 1))


@pytest.mark.parametrize("step", ["read", "compute", "write"])
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_an_exception_is_raised_here_and_what_was_computed_before_is_written(
    step: str, error: type[BaseException]
) -> None:
    def during(name: str, item: int) -> None:
        if (name, item) == (step, 2):
            raise error("the third")

    recorder = Recorder(during)
    with pytest.raises(error, match="the third"):
        recorder.run(6)
    assert ("write done", 1) in recorder.events
    assert ("write done", 2) not in recorder.events
    assert ("compute", 4) not in recorder.events
    assert ends("medseg writes")


def test_ctrl_c_waits_for_the_result_that_is_being_written() -> None:
    writing, interrupted = threading.Event(), threading.Event()

    def during(name: str, item: int) -> None:
        if (name, item) == ("write", 0):
            writing.set()
            assert interrupted.wait(PATIENCE_S)
        if (name, item) == ("compute", 1):
            assert writing.wait(PATIENCE_S)
            threading.Timer(0.3, interrupted.set).start()
            raise KeyboardInterrupt

    recorder = Recorder(during)
    with pytest.raises(KeyboardInterrupt):
        recorder.run(3)
    assert ("write done", 0) in recorder.events
    assert ("write", 1) not in recorder.events


def test_a_second_ctrl_c_hurries_the_write_and_still_waits_for_it() -> None:
    writing, hurried = threading.Event(), threading.Event()
    earlier = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where tests run in the background

    def during(name: str, item: int) -> None:
        if (name, item) == ("compute", 1):
            assert writing.wait(PATIENCE_S)
            raise KeyboardInterrupt
        if (name, item) == ("write", 0):
            writing.set()
            while not hurried.wait(2.0):
                _thread.interrupt_main()

    recorder = Recorder(during, hurried.set)
    try:
        with pytest.raises(KeyboardInterrupt):
            recorder.run(3)
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert ("write done", 0) in recorder.events


def test_a_read_that_hangs_does_not_keep_an_exception_back() -> None:
    reading, release = threading.Event(), threading.Event()

    def during(name: str, item: int) -> None:
        if (name, item) == ("read", 1):
            reading.set()
            release.wait(PATIENCE_S)
        if (name, item) == ("compute", 0):
            assert reading.wait(PATIENCE_S)
            raise KeyboardInterrupt

    recorder = Recorder(during)
    with pytest.raises(KeyboardInterrupt):
        recorder.run(3)
    assert ("read done", 1) not in recorder.events
    release.set()
