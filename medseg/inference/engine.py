"""One scan through one network: the one place where a scan becomes label ids.

It holds the logits of the whole scan on the network's grid at once. An engine that finishes and drops
them slab by slab replaces `segment` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import OutOfMemory
from medseg.inference.backends import Backend
from medseg.inference.sliding import Progress, predict_logits, usable_mirror_axes
from medseg.plans import Plan
from medseg.preprocess import Prepared, network_geometry, prepare, restore
from medseg.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a network says about a scan, on the scan's own grid.

    Parameters
    ----------
    ids
        (I, J, K) uint8, or uint16 where a label id needs it: 0 or a label id of the plan.
    probabilities
        float32 (K, I, J, K), summing to 1 over the plan's ``class_ids``; None unless asked for.
    timings_s
        Seconds for ``prepare``, ``predict`` and ``restore``.
    """

    ids: NDArray[np.unsignedinteger[Any]]
    probabilities: NDArray[np.float32] | None
    timings_s: dict[str, float]


def segment(
    volume: Volume,
    plan: Plan,
    backend: Backend,
    *,
    overlap: float | None = None,
    tta: bool = False,
    probabilities: bool = False,
    max_memory: int | None = None,
    progress: Progress | None = None,
) -> Prediction:
    """Segment a scan on its own grid.

    Logits, not labels, are interpolated back to the scan's grid, and the largest wins; on a tie the
    class that comes first in the plan, background before all.

    Parameters
    ----------
    volume
        The scan; its channels are the plan's.
    plan, backend
        The model, and its network ready to run.
    overlap
        Of neighbouring windows; None takes the plan's.
    tta
        Average over the plan's flips, as far as they keep left and right.
    probabilities
        Also keep the softmax of the restored logits.
    max_memory
        Bytes that arrays of this scan may take together; None sets no limit.
    progress
        As in `predict_logits`.

    Raises
    ------
    InputRefused
        If the scan does not fit the plan; see `medseg.preprocess.prepare`.
    OutOfMemory
        If ``planned_bytes`` is more than ``max_memory``; nothing has been computed then.
    """
    if max_memory is not None:
        _check_memory(planned_bytes(volume, plan, probabilities), max_memory)
    start = perf_counter()
    prepared = prepare(volume, plan)
    ready = perf_counter()
    logits = predict_logits(
        prepared.data,
        plan,
        backend,
        overlap=overlap,
        batch_size=backend.batch_size,
        mirror_axes=usable_mirror_axes(plan) if tta else (),
        progress=progress,
    )
    predicted = perf_counter()
    shares = _softmax(restore(logits, prepared.geometry, prepared.native)) if probabilities else None
    ids = _ids(logits, prepared, plan)
    seconds = {"prepare": ready - start, "predict": predicted - ready, "restore": perf_counter() - predicted}
    return Prediction(ids, shares, seconds)


def planned_bytes(volume: Volume, plan: Plan, probabilities: bool = False) -> int:
    """Upper estimate of the memory in bytes that `segment` takes on top of the scan itself.

    The network's own activations, which depend on the patch alone, are not in it.
    """
    native = int(np.prod(volume.geometry.shape))
    network = int(np.prod(network_geometry(volume.geometry, plan.grid).shape))
    patch = (*plan.patch, 1) if plan.dimensions == 2 else plan.patch
    network = max(network, int(np.prod(patch)))
    classes, channels = len(plan.class_ids), len(plan.channels)
    # predict: data and its padded copy, summed logits and their contiguous crop, weights.
    predicting = 4 * network * (2 * channels + 2 * classes + 1)
    # restore: logits, then per class one restored array, its two neighbours, best, index and ids.
    restoring = 4 * network * classes + native * (4 * 4 + 4)
    if probabilities:
        restoring += 4 * native * classes * 3
    return max(predicting, restoring)


def _check_memory(planned: int, allowed: int) -> None:
    if planned > allowed:
        raise OutOfMemory(
            f"this scan and model need about {_amount(planned)}, --max-memory allows "
            f"{_amount(allowed)}: raise the limit, crop the scan, or use a model with fewer classes"
        )


def _amount(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e8 else f"{number / 1e6:.3g} MB"


def _ids(logits: NDArray[np.float32], prepared: Prepared, plan: Plan) -> NDArray[np.unsignedinteger[Any]]:
    """Label ids on the scan's grid. One class is restored at a time: only the best so far is kept."""
    best = restore(logits[:1], prepared.geometry, prepared.native)[0].copy()
    ids = np.zeros(best.shape, np.uint8 if max(plan.class_ids) <= 255 else np.uint16)
    for channel, label_id in enumerate(plan.class_ids[1:], start=1):
        here = restore(logits[channel : channel + 1], prepared.geometry, prepared.native)[0]
        wins = here > best
        ids[wins] = label_id
        np.maximum(best, here, out=best)
    return ids


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shares = np.exp(logits - logits.max(axis=0))
    shares /= shares.sum(axis=0)
    return np.asarray(shares, dtype=np.float32)
