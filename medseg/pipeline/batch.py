"""infer_files: many inputs, one model load, outputs that are whole or absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medseg.pipeline.cases import PathLike, inputs_of, parse_cases, plan_masks, plan_outputs
from medseg.pipeline.flow import flow
from medseg.pipeline.models import ModelChooser, ModelLike
from medseg.pipeline.options import InferOptions, Progress, memory_bytes
from medseg.pipeline.own_results import without_own_results
from medseg.pipeline.report import InferReport
from medseg.pipeline.steps import Job, Steps


def infer_files(
    inputs: Iterable[PathLike] = (),
    *,
    model: ModelLike | Sequence[ModelLike] | None = None,
    out: PathLike | None = None,
    formats: Sequence[str] = ("nii.gz",),
    preview: bool = False,
    probabilities: bool = False,
    entropy: bool = False,
    masks: bool = False,
    overwrite: bool = False,
    case: str | Mapping[str, PathLike] | Sequence[str | Mapping[str, PathLike]] | None = None,
    series: str | int | None = None,
    allow: Sequence[str] = (),
    strict: bool = False,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    overlap: float | None = None,
    tta: bool = False,
    skip_empty: bool = True,
    threads: int | None = None,
    max_memory: int | str | None = None,
    sums: str = "auto",
    scratch: str | Path | None = None,
    postprocess: str = "plan",
    progress: Progress | None = None,
) -> InferReport:
    """Segment files and DICOM folders, and write each result with its sidecar.

    A case whose outputs exist and were made from the same input by the same model with the same
    options is not computed again. Outputs of anything else are kept, and the case refused, unless
    ``overwrite``. A case that is refused or fails does not stop the others.

    While the network runs on one scan, the next one is read and the last result written.

    Parameters
    ----------
    inputs
        Files or DICOM folders, one case each. Segmentations, masks and previews that an earlier call wrote
        are left out, by their sidecars: ``scans/*.nii.gz`` is not meant to segment them.
    model
        As in `infer`.
    out
        A folder, made where it is missing; a file's name for a single case; None writes beside each input.
    formats
        File formats of the segmentation, e.g. ``("nii.gz", "nrrd")``.
    preview
        Also write a picture.
    probabilities, entropy
        Also write these maps, as arrays of a Zarr group ``<stem>_seg_maps.zarr``; see `medseg.io.zarr_maps`.
    masks
        Also write a mask of each of the model's totals, ``<stem>_seg_<total>``, in every format.
    overwrite
        Replace what exists.
    case
        Cases of several channels: ``"t1=a.nii.gz,flair=b.nii.gz"`` or mappings, or a list of them.
    series, allow, strict, backend, device, precision, overlap, tta, skip_empty, threads, max_memory, sums, \
scratch, postprocess
        See `InferOptions`; ``max_memory`` may be a text such as ``"4GB"``.
    progress
        Called in the calling thread as ``progress(stage, done, total)`` with stage ``"cases"`` before each
        case and at the end, and with the stages within a case; an exception from it cancels.

    Raises
    ------
    UsageError, NotFound, MissingExtra
        If the call is wrong; nothing has been read or written then.
    InputRefused
        ``own-result`` if every input is a result of an earlier call.
    ModelRefused
        If the model is broken.
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
    cases, left_out = without_own_results(parse_cases(inputs, case))
    planned = plan_outputs(cases, out, formats)
    jobs = [Job(one, outputs) for one, outputs in zip(cases, planned, strict=True)]
    chooser, read_from = ModelChooser(model, options), inputs_of(cases)
    if masks and chooser.named_bundles:  # else each scan chooses its model, and may be refused for it
        for outputs in planned:
            plan_masks(outputs, chooser.named_bundles[0].plan, read_from)
    steps = Steps(
        chooser,
        options,
        preview=preview,
        masks=masks,
        inputs=read_from,
        overwrite=overwrite,
        lone=len(jobs) == 1,
        progress=progress,
    )

    def begin(done: int) -> None:
        if progress is not None:
            progress("cases", done, len(jobs))

    try:
        documents = flow(
            jobs,
            steps.read,
            steps.compute,
            steps.write,
            begin=begin,
            may_read_ahead=steps.may_read_ahead,
            hurry=steps.hurry.set,
        )
    finally:
        steps.drop_maps()
    begin(len(jobs))
    return InferReport(tuple(documents), left_out)
