"""Three steps for each of many items: the next is read and the last written while one is computed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Computed = TypeVar("Computed")
Written = TypeVar("Written")
Value = TypeVar("Value")

# Waits are cut into pieces, so that Ctrl-C ends them on Windows too, where no signal interrupts a lock.
_WAIT_S = 0.2
# How long a read that nobody wants any more is waited for.
_READ_S = 1.0


def flow(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Computed],
    write: Callable[[Item, Computed], Written],
    *,
    begin: Callable[[int], None],
    may_read_ahead: Callable[[Read], bool],
    hurry: Callable[[], None],
) -> list[Written]:
    """Take every item through ``read``, ``compute`` and ``write``; results in the order of the items.

    ``compute`` runs in the calling thread. Of several items at most one is read ahead, and at most one
    is waiting to be written or being written, each in a thread of its own; a lone item meets no thread.

    An exception of any step ends the whole. It is raised here when its item's turn comes, after what is
    being written has been written. Ctrl-C and exceptions from ``begin`` do the same. A read under way is
    dropped, and left to itself where it takes longer than a moment.

    Parameters
    ----------
    begin
        Called with the number of items that came before, when an item's turn comes.
    may_read_ahead
        Whether the next item may be read while this one is computed: both will lie in memory.
    hurry
        Called for every further Ctrl-C while ``write`` is waited for, in the calling thread: ``write`` is to
        end as soon as nothing is half done.
    """
    if len(items) == 1:
        begin(0)
        return [write(items[0], compute(items[0], read(items[0])))]
    results: list[Written] = []
    with _lane("medseg reads") as start_reading, _lane("medseg writes", hurry) as start_writing:
        reading = start_reading(lambda: read(items[0])) if items else None
        writing: Future[Written] | None = None
        for index, item in enumerate(items):
            begin(index)
            found = _result(reading or start_reading(_bound(read, item)))
            following = items[index + 1 : index + 2]
            reading = None
            if following and may_read_ahead(found):
                reading = start_reading(_bound(read, following[0]))
            computed = compute(item, found)
            del found  # a scan: the next ones need its room
            if writing is not None:
                results.append(_result(writing))
            writing = start_writing(_bound(write, item, computed))
            del computed
        if writing is not None:
            results.append(_result(writing))
    return results


@contextmanager
def _lane(
    name: str, hurry: Callable[[], None] | None = None
) -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """A thread that does one thing after another. Leaving waits for its end if it can be hurried."""
    work: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
    ended = threading.Event()
    # A daemon: a read that takes long must not keep the interpreter from ending.
    threading.Thread(target=_work_off, args=(work, ended), name=name, daemon=True).start()

    def start(call: Callable[[], Value]) -> Future[Value]:
        future: Future[Value] = Future()
        work.put((call, future))
        return future

    try:
        yield start
    finally:
        work.put(None)
        if hurry is None:
            ended.wait(_READ_S)
        else:
            _await(ended, hurry)


def _work_off(
    work: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None], ended: threading.Event
) -> None:
    while (job := work.get()) is not None:
        call, future = job
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
            future.set_exception(error)
        del job, call, future  # they hold a scan, and the next job may be long in coming
    ended.set()


def _await(ended: threading.Event, hurry: Callable[[], None]) -> None:
    # Never left behind: an interpreter that ends under a thread in a C++ library may crash, and the thread
    # would leave its temporary file. Not Thread.join: interrupted, it takes the thread for dead (gh-90882).
    while True:
        try:
            while not ended.wait(_WAIT_S):
                pass
            return
        except KeyboardInterrupt:
            hurry()


def _bound(call: Callable[..., Value], *arguments: Any) -> Callable[[], Value]:
    return lambda: call(*arguments)


def _result(future: Future[Value]) -> Value:
    while True:
        try:
            return future.result(_WAIT_S)
        except NotYet:
            if future.done():  # the step itself raised it
                raise
