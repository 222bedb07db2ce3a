"""Reading libraries that keep their words to themselves."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

_lock = threading.Lock()
_users: dict[str, int] = {}
_undo: dict[str, ExitStack] = {}


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """No warnings, and nothing in the log of a library: both quote values, which may name the patient.

    What is wrong with a file is said by medseg's own refusals. Threads may be in here at the same time: the
    first one silences, the last one undoes it.
    """
    with _shared("warnings", _no_warnings), _shared(f"log of {library}", lambda: _no_log(library)):
        yield


@contextmanager
def _shared(what: str, begin: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """What ``begin`` gives, entered once for all threads that are in here together."""
    with _lock:
        if what not in _users:
            _users[what], _undo[what] = 0, ExitStack()
            _undo[what].enter_context(begin())
        _users[what] += 1
    try:
        yield
    finally:
        with _lock:
            _users[what] -= 1
            if _users[what] == 0:
                del _users[what]
                _undo.pop(what).close()


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _no_log(library: str) -> Iterator[None]:
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # loggers below it ask it for theirs
    try:
        yield
    finally:
        logger.setLevel(level)
