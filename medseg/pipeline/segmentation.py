"""infer: one scan, one model, one measured segmentation on the scan's own grid."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from medseg import __version__
from medseg.errors import InputRefused
from medseg.inference.engine import Prediction, segment
from medseg.inference.sliding import usable_mirror_axes
from medseg.io.files import sha256_files
from medseg.measure import Measurement, measure
from medseg.models import ModelBundle
from medseg.pipeline.cases import Case, PathLike, in_plan_order, parse_cases, read_case
from medseg.pipeline.models import ModelChooser, OpenModel
from medseg.pipeline.options import InferOptions, Progress, memory_bytes
from medseg.quality import check_scope
from medseg.verdict import OK, Verdict
from medseg.volume import LabelMap, Volume

# Their versions can change a result; only what this process has loaded took part.
_LIBRARIES = ("numpy", "scipy", "SimpleITK", "pydicom", "openvino", "torch", "monai")


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What `infer` returns.

    Parameters
    ----------
    labels
        The label map on the scan's own grid, with the dataset's ids.
    probabilities
        Class probabilities as a `Volume`, channels in the order of the plan's ``class_ids``
        (background first); None unless asked for.
    measurements
        One per label of the model, present or not.
    verdict
        What is to be known about scan, model and result; see DESIGN for the codes.
    timings_s
        Seconds per stage.
    provenance
        Everything needed to get the same labels again: versions, model and input hash, options,
        execution settings. Plain JSON values, no patient data.
    model
        Name of the model.
    """

    labels: LabelMap
    probabilities: Volume | None
    measurements: tuple[Measurement, ...]
    verdict: Verdict
    timings_s: Mapping[str, float]
    provenance: Mapping[str, Any]
    model: str


def infer(
    volume_or_path: Volume | PathLike | Mapping[str, PathLike],
    model: str | Path | ModelBundle | OpenModel | None = None,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    overlap: float | None = None,
    tta: bool = False,
    probabilities: bool = False,
    allow: Sequence[str] = (),
    series: str | int | None = None,
    strict: bool = False,
    max_memory: int | str | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment a scan.

    Parameters
    ----------
    volume_or_path
        A `Volume`, a file or DICOM folder, or a mapping from channel name to path.
    model
        A built-in model's name, a bundle's path, or an opened model. None takes ``MEDSEG_MODEL``, the
        user's default, or the one built-in model whose scope accepts the scan.
    backend, device, precision, threads, overlap, tta, probabilities, allow, series, strict, max_memory
        See `InferOptions`. Where ``model`` is an `OpenModel`, the first four are those it was opened with.
    progress
        Called as ``progress(stage, done, total)``; an exception from it cancels.

    Returns
    -------
    Segmentation

    Raises
    ------
    InputRefused
        If the scan is refused, does not fit the model, or would get a warning under ``strict``.
    ModelRefused, NotFound, UsageError, OutOfMemory
        As their names say.
    """
    options = InferOptions(
        backend=backend,
        device=device,
        precision=precision,
        threads=threads,
        overlap=overlap,
        tta=tta,
        probabilities=probabilities,
        allow=tuple(allow),
        series=series,
        strict=strict,
        max_memory=memory_bytes(max_memory),
    )
    chooser = ModelChooser(model, options)
    start = perf_counter()
    names: tuple[str, ...] = ()
    if isinstance(volume_or_path, Volume):
        volume = volume_or_path
    else:
        case = _one_case(volume_or_path)
        volume, names = read_case(case, options), case.names
    seconds = perf_counter() - start
    bundle = chooser.bundle(volume, names)
    scan = in_plan_order(volume, names, bundle.plan)
    return segment_volume(scan, chooser, bundle, options, {"read": seconds}, progress=progress)


def segment_volume(
    volume: Volume,
    chooser: ModelChooser,
    bundle: ModelBundle,
    options: InferOptions,
    timings_s: Mapping[str, float],
    *,
    input_hash: str | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment a scan whose channels are the model's, and measure the result.

    ``timings_s`` are seconds already spent on the case; ``input_hash`` spares hashing its files again.
    """
    start = perf_counter()
    verdict = volume.verdict + check_scope(volume, bundle)
    _refuse_warnings(verdict, options)
    first_use = not chooser.is_open(bundle)
    opened = chooser.opened(bundle)
    prediction = segment(
        volume,
        bundle.plan,
        opened.backend,
        overlap=options.overlap,
        tta=options.tta,
        probabilities=options.probabilities,
        max_memory=options.max_memory,
        progress=progress,
    )
    measuring = perf_counter()
    bare = LabelMap(prediction.ids, volume.geometry, bundle.label_set)
    measurements = measure(bare)
    verdict = verdict + _emptiness(measurements, bundle)
    _refuse_warnings(verdict, options)
    if input_hash is None and volume.source.paths:
        input_hash = sha256_files(volume.source.paths)
    end = perf_counter()
    seconds = {
        **timings_s,
        "model": opened.seconds if first_use else 0.0,
        **prediction.timings_s,
        "measure": end - measuring,
        "total": sum(timings_s.values()) + end - start,
    }
    return Segmentation(
        labels=LabelMap(prediction.ids, volume.geometry, bundle.label_set, volume.source, verdict),
        probabilities=_probabilities(prediction, volume),
        measurements=measurements,
        verdict=verdict,
        timings_s=seconds,
        provenance=_provenance(opened, options, input_hash),
        model=bundle.name,
    )


def _one_case(path: PathLike | Mapping[str, PathLike]) -> Case:
    return parse_cases((), path)[0] if isinstance(path, Mapping) else parse_cases([os.fspath(path)], None)[0]


def _refuse_warnings(verdict: Verdict, options: InferOptions) -> None:
    if options.strict and verdict.status == "warning":
        reasons = [(reason.code, reason.message) for reason in verdict.reasons]
        text = "; ".join(reason.message for reason in verdict.reasons)
        raise InputRefused(f"refused, as strict is on: {text}", code=reasons[0][0], reasons=reasons)


def _emptiness(measurements: Sequence[Measurement], bundle: ModelBundle) -> Verdict:
    if any(measurement.voxels for measurement in measurements):
        return OK
    return Verdict.of(
        "warning",
        "empty-segmentation",
        f"model {bundle.name!r} found none of its {len(measurements)} structures in this scan: "
        "is it the right model, and does the scan show what the model is for?",
    )


def _probabilities(prediction: Prediction, volume: Volume) -> Volume | None:
    if prediction.probabilities is None:
        return None
    return Volume(prediction.probabilities, volume.geometry, volume.source)


def _provenance(opened: OpenModel, options: InferOptions, input_hash: str | None) -> dict[str, Any]:
    plan = opened.bundle.plan
    return {
        "medseg": __version__,
        "model": {"name": opened.bundle.name, "sha256": opened.bundle.hash},
        "input_sha256": input_hash,
        "options": options.to_json(),
        "execution": {
            **opened.backend.settings,
            "overlap": plan.inference.overlap if options.overlap is None else options.overlap,
            "mirror_axes": list(usable_mirror_axes(plan)) if options.tta else [],
        },
        "libraries": {"python": platform.python_version(), **_library_versions()},
        "system": f"{platform.system()} {platform.machine()}",
    }


def _library_versions() -> dict[str, str]:
    loaded = {name: sys.modules[name] for name in _LIBRARIES if sys.modules.get(name) is not None}
    return {name: str(getattr(module, "__version__", "unknown")) for name, module in loaded.items()}
