"""The process under test: reads what it is told to with medseg, and reports what came of it.

Run by `watched.Watched`. The words that medseg and the libraries under it utter anywhere (messages,
tracebacks, logs, warnings, both output streams) are searched for the patient of `canary`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import medseg
from tests.acceptance.files.canary import leaks
from tests.acceptance.files.watched import family

_HEARD: list[str] = []


class _Ear(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _HEARD.append(record.getMessage())


def main() -> None:
    """Answer questions until there are no more."""
    questions, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    scratch = Path(tempfile.gettempdir())
    said = scratch.with_name(scratch.name + ".said")
    with said.open("ab", buffering=0) as file:  # appending: it is emptied in between
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.getLogger().addHandler(_Ear(logging.WARNING))
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *rest: _HEARD.append(f"warning: {message}")  # type: ignore[assignment]
    for question in questions:
        answer = _answer(json.loads(question))
        answer["said"] = said.read_bytes()[-2000:].decode(errors="replace")
        os.truncate(said, 0)
        answer["leak"] = answer["leak"] or leaks(answer["said"])
        answer["litter"] = _litter(scratch)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _litter(scratch: Path) -> list[str]:
    """What lies in the folder for temporary files and belongs to no living child process."""
    for _ in range(5):  # children whose thread ends are listed nowhere for a moment
        found = [path.name for path in scratch.iterdir() if not _in_use(path)]
        if not found:
            break
        time.sleep(0.1)
    return sorted(found)


def _in_use(path: Path) -> bool:
    """Whether a living child process works in this folder: it was told so in its command."""
    children = family(os.getpid())[1:]
    return any(str(path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children)


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    _HEARD.clear()
    code = message = trace = ""
    try:
        verb = medseg.read_labels if question["verb"] == "read_labels" else medseg.read
        item = verb(Path(question["path"]), **question["options"])
        outcome, code = ("accepted", item.verdict.status) if item.data.size else ("foreign", "no voxels")
        message = " | ".join(reason.message for reason in item.verdict.reasons)
        np.save(question["result"] + ".data.npy", item.data)
        np.save(question["result"] + ".affine.npy", item.geometry.affine)
        trace = repr(item.source)
    except medseg.MedsegError as error:
        expected = isinstance(error, medseg.InputRefused | medseg.UsageError)
        outcome = "refused" if expected else "foreign"
        code, message = getattr(error, "code", type(error).__name__), str(error)
        trace = traceback.format_exc()
    except BaseException as error:  # noqa: BLE001 - whatever else escapes is what is looked for
        outcome, code, message, trace = "foreign", type(error).__name__, str(error), traceback.format_exc()
    heard = "\n".join(_HEARD)
    return {
        "outcome": outcome,
        "code": code,
        "message": message[:500],
        "trace": trace[-3000:] if outcome == "foreign" else "",
        "heard": heard[:1000],
        "leak": leaks(message) or leaks(trace) or leaks(heard),
        "seconds": time.perf_counter() - start,
    }


if __name__ == "__main__":
    main()
