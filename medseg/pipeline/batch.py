"""infer_files: many inputs, one model load, outputs that are whole or absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from medseg.errors import InputRefused, OutOfMemory, UsageError, WriteFailed
from medseg.io import write
from medseg.io.files import sha256_files, write_text
from medseg.models import ModelBundle
from medseg.pipeline.cases import Case, Outputs, PathLike, in_plan_order, parse_cases, plan_outputs, read_case
from medseg.pipeline.models import ModelChooser, OpenModel
from medseg.pipeline.options import InferOptions, Progress, memory_bytes
from medseg.pipeline.report import InferReport, done_case, read_sidecar, sidecar_text, undone_case
from medseg.pipeline.segmentation import Segmentation, segment_volume
from medseg.verdict import Verdict
from medseg.volume import Volume

INTERRUPTED = "interrupted"


def infer_files(
    inputs: Iterable[PathLike] = (),
    *,
    model: str | Path | ModelBundle | OpenModel | None = None,
    out: PathLike | None = None,
    formats: Sequence[str] = ("nii.gz",),
    preview: bool = False,
    probabilities: bool = False,
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
    threads: int | None = None,
    max_memory: int | str | None = None,
    progress: Progress | None = None,
) -> InferReport:
    """Segment files and DICOM folders, and write each result with its sidecar.

    A case whose outputs exist and were made from the same input by the same model with the same
    options is not computed again. Outputs of anything else are kept, and the case refused, unless
    ``overwrite``. A case that is refused or fails does not stop the others.

    Parameters
    ----------
    inputs
        Files or DICOM folders, one case each.
    model
        As in `infer`.
    out
        A folder, made where it is missing; a file's name for a single case; None writes beside each input.
    formats
        File formats of the segmentation, e.g. ``("nii.gz", "nrrd")``.
    preview, probabilities
        Also write a picture, and the class probabilities.
    overwrite
        Replace what exists.
    case
        Cases of several channels: ``"t1=a.nii.gz,flair=b.nii.gz"`` or mappings, or a list of them.
    series, allow, strict, backend, device, precision, overlap, tta, threads, max_memory
        See `InferOptions`; ``max_memory`` may be a text such as ``"4GB"``.
    progress
        Called as ``progress(stage, done, total)`` with stage ``"cases"`` before each case and at the
        end, and with the stages within a case; an exception from it cancels.

    Raises
    ------
    UsageError, NotFound, MissingExtra
        If the call is wrong; nothing has been read or written then.
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
        probabilities=probabilities,
        allow=tuple(allow),
        series=series,
        strict=strict,
        max_memory=memory_bytes(max_memory),
    )
    cases = parse_cases(inputs, case)
    planned = plan_outputs(cases, out, formats)
    chooser = ModelChooser(model, options)
    documents = []
    for index, (one, outputs) in enumerate(zip(cases, planned, strict=True)):
        if progress is not None:
            progress("cases", index, len(cases))
        try:
            document = _run(one, outputs, chooser, options, preview, overwrite, progress)
        except UsageError as error:
            if len(cases) == 1:
                raise
            # Wrong for this case (a series it does not have); the others may well be right.
            document = undone_case(one.input, Verdict.of("refused", "option-does-not-fit", str(error)), None)
        documents.append(document)
    if progress is not None:
        progress("cases", len(cases), len(cases))
    return InferReport(tuple(documents))


def _run(
    case: Case,
    outputs: Outputs,
    chooser: ModelChooser,
    options: InferOptions,
    preview: bool,
    overwrite: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """One case, from its input to its entry in the report."""
    bundle: ModelBundle | None = None
    try:
        start = perf_counter()
        volume = read_case(case, options)
        bundle = chooser.bundle(volume, case.names)
        volume = in_plan_order(volume, case.names, bundle.plan)
        reading = perf_counter() - start
        wanted = _wanted(outputs, options, preview)
        input_hash = sha256_files(volume.source.paths)
        identity = (input_hash, bundle.hash, options.to_json())
        earlier = None if overwrite else _earlier(outputs.sidecar, wanted, identity)
        if earlier is not None:
            return {**earlier, "input": case.input, "already_done": True}
        result = segment_volume(
            volume,
            chooser,
            bundle,
            options,
            {"read": reading},
            input_hash=input_hash,
            progress=progress,
        )
        return _write(case, outputs, volume, result, preview)
    except InputRefused as error:
        return undone_case(case.input, Verdict.refusal(error), bundle.name if bundle else None)
    except (WriteFailed, OutOfMemory) as error:
        code = "write-failed" if isinstance(error, WriteFailed) else "out-of-memory"
        return undone_case(
            case.input, Verdict.of("failed", code, str(error)), bundle.name if bundle else None
        )


def _wanted(outputs: Outputs, options: InferOptions, preview: bool) -> list[Path]:
    """Every file that the call would write for a case."""
    extras = [outputs.preview] * preview + [outputs.probabilities] * options.probabilities
    return [*outputs.segmentations, *extras, outputs.sidecar]


def _earlier(
    sidecar: Path, wanted: Sequence[Path], identity: tuple[str, str, dict[str, Any]]
) -> dict[str, Any] | None:
    """The finished case that the outputs already hold; None if it is to be computed.

    ``identity`` is what decides the labels: input hash, model hash, options.

    Raises
    ------
    InputRefused
        ``output-exists`` if there are outputs of something else.
    """
    existing = [path for path in wanted if path.exists()]
    if not existing:
        return None
    earlier = read_sidecar(sidecar)
    if earlier is None or _identity(earlier) != identity:
        why = "and was not made from this input by this model with these options"
    elif INTERRUPTED in (reason["code"] for reason in earlier["reasons"]):
        return None
    elif existing == wanted:
        return earlier
    else:
        why = f"but not {', '.join(path.name for path in wanted if path not in existing)}"
    raise InputRefused(
        f"{existing[0]} exists, {why}: use --overwrite to replace it, or another -o", code="output-exists"
    )


def _identity(sidecar: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    provenance = sidecar["provenance"]
    model = provenance.get("model")
    return (
        provenance.get("input_sha256"),
        model.get("sha256") if isinstance(model, dict) else None,
        provenance.get("options"),
    )


def _write(
    case: Case,
    outputs: Outputs,
    volume: Volume,
    result: Segmentation,
    preview: bool,
) -> dict[str, Any]:
    """Write every output of a case; the sidecar says "interrupted" until the last one is in place."""
    start = perf_counter()
    _make_folder(outputs.sidecar.parent)
    unfinished = Verdict.of(
        "failed", INTERRUPTED, "medseg was stopped while it wrote the outputs of this case: run it again"
    )
    marker = undone_case(case.input, unfinished, result.model, result.provenance)
    write_text(outputs.sidecar, sidecar_text(marker))
    first, *others = outputs.segmentations
    for path in outputs.segmentations:
        write(result.labels, path, overwrite=True)
    written: dict[str, Path | list[Path] | None] = {"segmentation": first}
    if others:
        written["segmentations"] = [first, *others]
    if result.probabilities is not None:
        written["probabilities"] = write(result.probabilities, outputs.probabilities, overwrite=True)
    if preview:
        from medseg.report.preview import preview_png  # matplotlib, only where a picture is wanted

        title = outputs.preview.name.removesuffix("_seg.png")
        if result.verdict.status == "warning":
            title += f"   WARNING: {', '.join(result.verdict.codes)}"
        preview_png(volume, result.labels, result.measurements, outputs.preview, title=title)
        written["preview"] = outputs.preview
    document = done_case(case.input, written, result)
    writing = perf_counter() - start
    document["timings_s"]["write"] = round(writing, 4)
    document["timings_s"]["total"] = round(document["timings_s"]["total"] + writing, 4)
    write_text(outputs.sidecar, sidecar_text(document))
    return document


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"{folder}: the folder could not be made: {error.strerror}") from error
