"""The engine, asked as the options say, and what it tells about how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medseg.errors import DeviceOutOfMemory
from medseg.inference import Member, Prediction, segment
from medseg.inference.process_memory import peak_memory
from medseg.io.zarr_maps import ZarrMaps
from medseg.pipeline.maps import MemoryMaps
from medseg.pipeline.models import OpenModel, on_the_cpu
from medseg.pipeline.options import InferOptions, Progress
from medseg.pipeline.quality import estimates_quality
from medseg.volume import Volume

_NOTHING_SEEN = (
    "every window is empty by the model's own rule, so the network has seen nothing of this scan; "
    "--no-skip-empty shows it all"
)


def predict(
    volume: Volume,
    models: tuple[OpenModel, ...],
    options: InferOptions,
    maps: MemoryMaps | ZarrMaps | None,
    progress: Progress | None,
) -> tuple[Prediction, tuple[OpenModel, ...]]:
    """Segment a scan with the models, and tell which networks did it: others where a GPU was too small.

    Errors are those of `medseg.inference.segment`.
    """
    try:
        return _segment(volume, models, options, maps, progress), models
    except DeviceOutOfMemory as error:
        if options.device != "auto":
            raise
        note = f"the network does not fit on the GPU ({error}): computed on the CPU"
    if maps is not None:
        maps.restart()
    on_cpu = tuple(on_the_cpu(model, options) for model in models)
    prediction = _segment(volume, on_cpu, options, maps, progress)
    return replace(prediction, notes=(note, *prediction.notes)), on_cpu


def _segment(
    volume: Volume,
    models: Sequence[OpenModel],
    options: InferOptions,
    maps: MemoryMaps | ZarrMaps | None,
    progress: Progress | None,
) -> Prediction:
    return segment(
        volume,
        [Member(model.bundle.plan, model.backend) for model in models],
        overlap=options.overlap,
        tta=options.tta,
        skip_empty=options.skip_empty,
        maps=maps,
        map_bytes=0 if maps is None else maps.held_bytes,
        max_memory=options.max_memory,
        scratch=options.scratch_folder,
        sums=options.sums,
        confidence=estimates_quality([model.bundle for model in models]),
        progress=progress,
    )


def execution(prediction: Prediction) -> dict[str, Any]:
    """How the work was done, for the provenance."""
    plan, windows, crop = prediction.memory, prediction.windows, prediction.crop
    return {
        # In voxels of the scan, from start to before stop.
        "crop": None
        if crop is None
        else {"start": [part.start for part in crop], "stop": [part.stop for part in crop]},
        "windows": {"total": windows.total, "skipped": windows.skipped},
        "memory": {
            "place": plan.place,
            "sums": plan.sums,
            "predicted_bytes": plan.predicted_bytes,
            "limit_bytes": plan.limit_bytes,
            "device_bytes": plan.device_bytes,
            "scratch_bytes": plan.scratch_bytes,
        },
        "notes": [*prediction.notes, *([_NOTHING_SEEN] if windows.skipped == windows.total else [])],
    }


def memory(prediction: Prediction) -> dict[str, int]:
    """What the process was to take at its peak, and the most that it has taken so far."""
    return {
        "predicted_peak_bytes": prediction.memory.predicted_bytes,
        "measured_peak_bytes": peak_memory(),
    }
