"""infer: one scan, one model or an ensemble, one measured segmentation on the scan's own grid."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from medseg.errors import InputRefused, UsageError
from medseg.io.files import sha256_files
from medseg.io.zarr_maps import ZarrMaps
from medseg.labels import LabelSet
from medseg.measure import Asymmetry, Measurement, Total, add_up, compare_sides, measure
from medseg.models import ModelBundle
from medseg.pipeline.cases import Case, PathLike, in_plan_order, parse_cases, read_case
from medseg.pipeline.clean_up import left_out, refuse_unknown_spacing, steps_of
from medseg.pipeline.ensemble import joint_name
from medseg.pipeline.maps import MemoryMaps
from medseg.pipeline.models import ModelChooser, ModelLike
from medseg.pipeline.options import InferOptions, Progress, memory_bytes
from medseg.pipeline.prediction import execution, memory, predict
from medseg.pipeline.provenance import provenance
from medseg.pipeline.quality import with_quality
from medseg.plans import Plan
from medseg.postprocess import apply_steps
from medseg.quality import check_anatomy, check_scope
from medseg.verdict import OK, Verdict
from medseg.volume import LabelMap, Volume, holds_any

OpenMaps = Callable[[Volume, Plan], MemoryMaps | ZarrMaps]


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What `infer` returns.

    Parameters
    ----------
    labels
        The label map on the scan's own grid, with the dataset's ids.
    probabilities
        Probabilities as a `Volume`, one channel per output of the network, in the order of the plan's
        ``output_names`` (background first, where there is one); None unless asked for.
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
        Name of the model; of an ensemble ``a+b``.
    entropy
        Entropy of the probabilities in nats (for regions: the mean over them) as a `Volume` of one channel;
        None unless asked for.
    memory
        ``predicted_peak_bytes`` of the process, and ``measured_peak_bytes``: the most that it has taken
        so far, earlier scans included.
    totals
        One per total of the model's plan: groups of labels measured as one.
    asymmetries
        One per structure that the model has on the left and on the right.
    """

    labels: LabelMap
    probabilities: Volume | None
    measurements: tuple[Measurement, ...]
    verdict: Verdict
    timings_s: Mapping[str, float]
    provenance: Mapping[str, Any]
    model: str
    entropy: Volume | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    totals: tuple[Total, ...] = ()
    asymmetries: tuple[Asymmetry, ...] = ()

    def mask(self, name: str) -> LabelMap:
        """The voxels of a total as a label map of their own, on the same grid: id 1, named like the total.

        A total that was not found is a label map of zeros.

        Raises
        ------
        UsageError
            If the model has no total of that name.
        """
        total = next((total for total in self.totals if total.name == name), None)
        if total is None:
            known = ", ".join(repr(total.name) for total in self.totals) or "none"
            raise UsageError(f"no total {name!r}; model {self.model!r} has {known}")
        whole = self.labels
        voxels = holds_any(whole.data, total.labels).view(np.uint8)
        return LabelMap(voxels, whole.geometry, LabelSet.from_names({1: name}), whole.source, whole.verdict)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan that was read and found fit for its models.

    ``verdict`` is that of the file and of the models' scopes, ``seconds`` what reading took. ``input_hash``
    is None where there is no file.
    """

    volume: Volume
    bundles: tuple[ModelBundle, ...]
    verdict: Verdict
    input_hash: str | None
    seconds: float


def infer(
    volume_or_path: Volume | PathLike | Mapping[str, PathLike],
    model: ModelLike | Sequence[ModelLike] | None = None,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    overlap: float | None = None,
    tta: bool = False,
    skip_empty: bool = True,
    probabilities: bool = False,
    entropy: bool = False,
    allow: Sequence[str] = (),
    series: str | int | None = None,
    strict: bool = False,
    max_memory: int | str | None = None,
    sums: str = "auto",
    scratch: str | Path | None = None,
    postprocess: str = "plan",
    progress: Progress | None = None,
) -> Segmentation:
    """Segment a scan.

    Parameters
    ----------
    volume_or_path
        A `Volume`, a file or DICOM folder, or a mapping from channel name to path.
    model
        A built-in model's name, a bundle's path, or an opened model; several of them, with the same labels
        and channels, are an ensemble. None takes ``MEDSEG_MODEL``, the user's default, or the one built-in
        model whose scope accepts the scan.
    backend, device, precision, threads, overlap, tta, skip_empty, probabilities, entropy, allow, series, \
strict, max_memory, sums, scratch, postprocess
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
        skip_empty=skip_empty,
        probabilities=probabilities,
        entropy=entropy,
        allow=tuple(allow),
        series=series,
        strict=strict,
        max_memory=memory_bytes(max_memory),
        sums=sums,
        scratch=scratch,
        postprocess=postprocess,
    )
    chooser = ModelChooser(model, options)
    scan = read_scan(
        volume_or_path if isinstance(volume_or_path, Volume) else _one_case(volume_or_path), chooser, options
    )

    def hold_maps(volume: Volume, plan: Plan) -> MemoryMaps:
        return MemoryMaps(options.maps, len(plan.output_names), volume.geometry.shape)

    return segment_scan(scan, chooser, options, hold_maps, progress=progress)


def read_scan(source: Case | Volume, chooser: ModelChooser, options: InferOptions) -> Scan:
    """Read a case, choose its models, bring its channels into their order, and judge whether it fits.

    Raises
    ------
    InputRefused
        As `read_case` and `ModelChooser.bundles`; under ``strict`` where there is a warning.
    """
    start = perf_counter()
    names: tuple[str, ...] = ()
    if isinstance(source, Volume):
        volume = source
    else:
        volume, names = read_case(source, options), source.names
    bundles = chooser.bundles(volume, names)
    volume = in_plan_order(volume, names, bundles[0].plan)
    refuse_unknown_spacing(volume.geometry.spacing_known, bundles, options)
    paths = volume.source.paths
    input_hash = sha256_files(paths) if paths else None
    verdict = volume.verdict
    for bundle in bundles:
        verdict = verdict + check_scope(volume, bundle)
    refuse_warnings(verdict, options)
    return Scan(volume, bundles, verdict, input_hash, perf_counter() - start)


def segment_scan(
    scan: Scan,
    chooser: ModelChooser,
    options: InferOptions,
    open_maps: OpenMaps,
    *,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment a scan that was read, and measure the result.

    ``open_maps`` is called once if maps are wanted; those that `MemoryMaps` holds become part of the result.
    """
    start = perf_counter()
    volume, bundles = scan.volume, scan.bundles
    models, opening = chooser.opened(bundles)
    maps = open_maps(volume, bundles[0].plan) if options.maps else None
    prediction, models = predict(volume, models, options, maps, progress)
    measuring = perf_counter()
    label_set = bundles[0].label_set
    labels = LabelMap(prediction.ids, volume.geometry, label_set)
    steps = steps_of(bundles, options)
    labels = apply_steps(labels, steps, volume.data)
    prediction = replace(prediction, notes=(*prediction.notes, *left_out(bundles, options)))
    measurements = measure(labels)
    measurements, trust = with_quality(measurements, prediction.confidence, bundles)
    verdict = scan.verdict + _emptiness(measurements, bundles) + _implausibility(labels, bundles) + trust
    refuse_warnings(verdict, options)
    end = perf_counter()
    arrays = maps.arrays if isinstance(maps, MemoryMaps) else {}
    shares, entropy = arrays.get("probabilities"), arrays.get("entropy")
    return Segmentation(
        labels=LabelMap(labels.data, volume.geometry, label_set, volume.source, verdict),
        probabilities=None if shares is None else Volume(shares, volume.geometry, volume.source),
        entropy=None if entropy is None else Volume(entropy[None], volume.geometry, volume.source),
        measurements=measurements,
        totals=add_up(measurements, bundles[0].plan.totals),
        asymmetries=compare_sides(measurements, label_set),
        verdict=verdict,
        timings_s={
            "read": scan.seconds,
            "model": opening,
            **prediction.timings_s,
            "measure": end - measuring,
            "total": scan.seconds + end - start,
        },
        provenance=provenance(models, options, scan.input_hash, execution(prediction), steps),
        model=joint_name(bundles),
        memory=memory(prediction),
    )


def refuse_warnings(verdict: Verdict, options: InferOptions) -> None:
    """Raise `InputRefused` for a warning where ``strict`` is on."""
    if options.strict and verdict.status == "warning":
        reasons = [(reason.code, reason.message) for reason in verdict.reasons]
        text = "; ".join(reason.message for reason in verdict.reasons)
        raise InputRefused(f"refused, as strict is on: {text}", code=reasons[0][0], reasons=reasons)


def _one_case(path: PathLike | Mapping[str, PathLike]) -> Case:
    return parse_cases((), path)[0] if isinstance(path, Mapping) else parse_cases([os.fspath(path)], None)[0]


def _implausibility(labels: LabelMap, bundles: Sequence[ModelBundle]) -> Verdict:
    verdict = OK
    for anatomy in {bundle.scope.anatomy: None for bundle in bundles if bundle.scope.anatomy is not None}:
        verdict = verdict + check_anatomy(labels, anatomy)
    return verdict


def _emptiness(measurements: Sequence[Measurement], bundles: Sequence[ModelBundle]) -> Verdict:
    if any(measurement.voxels for measurement in measurements):
        return OK
    return Verdict.of(
        "warning",
        "empty-segmentation",
        f"model {joint_name(bundles)!r} found none of its {len(measurements)} structures in this scan: "
        "is it the right model, and does the scan show what the model is for?",
    )
