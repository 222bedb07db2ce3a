"""A worker as a program of its own: tasks come in on standard input, results and stages go out on
standard output.

Not `multiprocessing`, whose child would import the caller's script again. The process ends at once when its
input ends, as it does when the coordinator dies, however it dies. What libraries print goes nowhere: they may
name files.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, BinaryIO

from medseg.cohort.records import CaseTask, WorkerSetup
from medseg.cohort.workers.stages import seldom
from medseg.errors import MedsegError

THREADS = 3  # one reads, one computes, one writes
_LENGTH = struct.Struct("<Q")


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message, whole."""
    content = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side is gone, also in the middle of a message.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    # Only between a coordinator and the process that it started itself: no one else's bytes get here.
    return pickle.loads(_exactly(stream, length))


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError
    return content


def main() -> None:
    """Serve one coordinator until it is gone."""
    answers, tasks = _own_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the coordinator decides
    lock = Lock()

    def answer(message: Any) -> None:
        with lock:
            send(answers, message)

    try:
        setup: WorkerSetup = receive(tasks)
        from medseg.cohort.workers.case_worker import CaseWorker  # slow to import; the pipe is open by now

        worker = CaseWorker(setup, seldom(answer))
    except EOFError:
        return
    except MedsegError as error:
        answer(error)
        return

    def work(task: CaseTask) -> None:
        try:
            answer(worker.run(task))
        except MedsegError as error:  # a model that is broken: the run ends
            answer(error)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="medseg case") as pool:
        try:
            while True:
                pool.submit(work, receive(tasks))
        except EOFError:
            os._exit(0)  # threads in the middle of a case would hold the process; what they write is unnamed


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The pipes for this module alone; anything that prints gets the null device."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    tasks = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
    return answers, tasks


if __name__ == "__main__":
    main()
