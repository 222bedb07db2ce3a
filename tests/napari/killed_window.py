"""A window in a process of its own, killed once it says that it is ready."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from napari_medseg.recovery.sessions import unfinished_sessions

_WAIT_S = 120.0


def run_and_kill(qtbot: Any, script: str, folder: Path, *arguments: str) -> None:
    """Run a script of this folder, given ``folder`` first, and SIGKILL it when ``folder/ready`` is there."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name(script)), str(folder), *arguments]
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + _WAIT_S
        while not (folder / "ready").exists():
            assert process.poll() is None, "the window ended by itself"
            assert time.monotonic() < until, "the window did not get ready"
            qtbot.wait(50)
        assert unfinished_sessions() == []  # while it is open, it is not offered
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
