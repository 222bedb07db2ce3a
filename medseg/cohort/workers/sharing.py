"""How the processors of a computer are shared between the worker processes of a study."""

from __future__ import annotations

from medseg.inference.backends import gpu_is_used, usable_processors
from medseg.inference.process_memory import available_memory
from medseg.models import ModelBundle
from medseg.pipeline.options import InferOptions

# A bound on memory and on what a start costs, chosen, not measured: two processes on two processors were (60
# scans in 19.4 s, one process with two threads took 22.4 s).
_MOST_PROCESSES = 4
# What a process should find free; a case that needs more than there is beside others is tried alone.
_BYTES_EACH = 4 * 10**9


def share_computer(
    bundles: tuple[ModelBundle, ...], options: InferOptions, cases: int, threads: int | None
) -> tuple[int, int]:
    """Number of worker processes, and of threads of each.

    Two networks on one processor each get more done than one on two processors: none waits for the slower
    half of the other, nor for scans that are read and results that are written. One process it is where a GPU
    computes, where memory was limited by the user, or where there is but one case to do.

    Parameters
    ----------
    bundles, options
        The models and how to segment.
    cases
        How many are to be done.
    threads
        Of each process, where that is settled already: as many processes then as fit.
    """
    processors = usable_processors()
    lone = options.max_memory is not None or any(
        gpu_is_used(bundle, options.backend, options.device) for bundle in bundles
    )
    free = available_memory()
    most = 1 if lone else min(_MOST_PROCESSES, max(1, cases))
    if free is not None:
        most = min(most, max(1, free // _BYTES_EACH))
    if threads is not None:
        return max(1, min(most, processors // threads)), threads
    processes = min(most, processors)
    return processes, processors // processes
