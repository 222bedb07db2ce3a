"""SIGKILL a session at random moments while it is edited: nothing older than one second is lost.

Outside CI: three to five minutes. MEDSEG_KILLS sets the number of kills (default 50).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from napari_medseg.recovery.sessions import recover, unfinished_sessions
from numpy.typing import NDArray

from tests.acceptance.scripted_session import BEFORE_UNDO, DONE, INTENDED, RECORD, SHAPE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("MEDSEG_KILLS", "50"))
PROMISED_S = 1.0

Entry = tuple[float, int, NDArray[np.uint8]]


def test_no_edit_older_than_a_second_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(7)
    edits, lags = [], []
    for number in range(KILLS):
        sessions = tmp_path / str(number)
        monkeypatch.setenv("MEDSEG_SESSIONS", str(sessions))
        log = tmp_path / f"{number}.log"
        script = ROOT / "tests" / "acceptance" / "scripted_session.py"
        process = subprocess.Popen([sys.executable, str(script), str(number), str(log)], cwd=ROOT)
        _wait_for_the_first_entry(log, process)
        time.sleep(draw.uniform(0.5, 3.0))
        assert process.poll() is None, "the script ended by itself"
        killed_at = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait()

        entries = _entries(log)
        edits.append(len(entries))
        (unfinished,) = unfinished_sessions()
        assert unfinished.damage is None
        session = recover(unfinished.folder)
        lags.append(_seconds_lost(entries, session.array, killed_at))
        assert lags[-1] <= PROMISED_S, f"kill {number}: {lags[-1]:.2f} s of edits are missing"
        assert unfinished.changed_voxels == np.count_nonzero(session.array)
        while session.undo() is not None:
            pass
        assert not session.array.any(), "undo does not reach the session's start"
        session.close(discard=True)
        assert list(sessions.iterdir()) == []
    print(
        f"{KILLS} kills, {sum(edits)} log entries, missing at most {max(lags):.2f} s, "
        f"median {sorted(lags)[len(lags) // 2]:.2f} s"
    )
    # The kills have hit what they were meant to hit: sessions with many edits, and some of them unrecorded.
    assert min(edits) > 5
    assert KILLS < 20 or max(lags) > 0


def _wait_for_the_first_entry(log: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not (log.is_file() and log.stat().st_size >= RECORD.size):
        assert process.poll() is None, "the script failed"
        assert time.monotonic() < until, "the script did not begin"
        time.sleep(0.01)


def _entries(log: Path) -> list[Entry]:
    content = log.read_bytes()
    whole = len(content) // RECORD.size * RECORD.size
    return [
        (when, kind, np.frombuffer(raw, np.uint8).reshape(SHAPE))
        for when, kind, raw in RECORD.iter_unpack(content[:whole])
    ]


def _seconds_lost(entries: list[Entry], found: NDArray[np.uint8], killed_at: float) -> float:
    """How long before the kill the oldest edit began that is missing from what was found, 0 if none is.

    A voxel whose value was found last in state n lacks the edit that led to state n + 1. A write that nobody
    announced may be missing although a later stroke is there; a value that a voxel never had may not.
    """
    begun = [entries[0][0], *(when for when, _, _ in entries[:-1])]
    states = [(start, array) for start, (_, kind, array) in zip(begun, entries, strict=True) if kind == DONE]
    when, kind, array = entries[-1]
    if kind == INTENDED:
        states.append((when, array))
    elif kind == BEFORE_UNDO and any(np.array_equal(found, state) for _, state in states):
        return 0.0  # killed within an undo or redo, which leads to what was there before
    lost = np.full(SHAPE, np.inf)
    age = 0.0
    for start, state in reversed(states):
        lost[(found == state) & np.isinf(lost)] = age
        age = killed_at - start
    assert np.isfinite(lost).all(), f"{np.isinf(lost).sum()} voxels have a value that they never had"
    return float(lost.max())
