"""Measured runs, each in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_MARK = "RESULT "


class RunFailed(Exception):
    """A measured process ended with an error; the text is the end of what it printed."""


def run(worker: str, task: str, **arguments: Any) -> dict[str, Any]:
    """One task of ``inference_speed.<worker>`` in a new process: what it returned, with ``peak_bytes``."""
    command = [sys.executable, "-m", f"inference_speed.{worker}", task, json.dumps(arguments, default=str)]
    return _result(command, _environment())


def run_script(python: Path, script: str, task: str, **arguments: Any) -> dict[str, Any]:
    """The same for a script that runs under another environment's Python and imports nothing of ours."""
    # -P: the script's folder must not come before that environment's packages.
    command = [
        str(python),
        "-P",
        str(Path(__file__).with_name(script)),
        task,
        json.dumps(arguments, default=str),
    ]
    return _result(command, {**os.environ, "PYTHONPATH": ""})


class Kept:
    """A worker that stays: it answers one question at a time, so that several can be measured in turn."""

    def __init__(self, worker: str, **arguments: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"inference_speed.{worker}", json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )

    def ask(self, question: Any) -> Any:
        """Send one value, wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return json.loads(line.removeprefix(_MARK))
        raise RunFailed(f"a worker ended with {self._process.wait()} and no answer to {question}")

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def answer_each(respond: Callable[[Any], Any]) -> None:
    """The other side of `Kept`: answer each line of standard input until it ends."""
    for line in sys.stdin:
        print(_MARK + json.dumps(respond(json.loads(line))), flush=True)


def wall_seconds(command: list[str]) -> float:
    """From process start to process end; the process must succeed."""
    start = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = perf_counter() - start
    if done.returncode:
        raise RunFailed(f"{' '.join(command[:3])} ... ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return seconds


def _environment() -> dict[str, str]:
    paths = [str(ROOT / "benchmarks"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _result(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(environment))
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        raise RunFailed(f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(lines[-1].removeprefix(_MARK))
    return result


def answer(tasks: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """What a worker's ``__main__`` calls: run the task named on the command line, print its result."""
    result = tasks[sys.argv[1]](**json.loads(sys.argv[2]))
    result["peak_bytes"] = peak_bytes()
    print(_MARK + json.dumps(result))


def peak_bytes() -> int:
    """Peak resident memory of this process.

    Linux's ``ru_maxrss`` starts from the size of the process that forked this one; ``VmHWM`` does not.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
