"""The files of one case: which there are already, and how they are written so that none is half there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

from medseg.errors import InputRefused
from medseg.io import write
from medseg.io.files import make_folder, write_text
from medseg.io.zarr_maps import ZarrMaps
from medseg.pipeline.cases import Case, Outputs
from medseg.pipeline.options import InferOptions
from medseg.pipeline.report import Written, done_case, read_sidecar, sidecar_text, undone_case
from medseg.pipeline.segmentation import Segmentation
from medseg.verdict import Verdict
from medseg.volume import Volume

INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Identity:
    """What decides the labels of a case: hash of its input, hash of the model or models, options."""

    input_sha256: str | None
    model_sha256: str | None
    options: Mapping[str, Any]


def earlier_case(
    outputs: Outputs, identity: Identity, options: InferOptions, preview: bool, masks: Sequence[Path] = ()
) -> dict[str, Any] | None:
    """The finished case that the outputs already hold; None if it is to be computed.

    ``masks`` are those that the call would write.

    Raises
    ------
    InputRefused
        ``output-exists`` if there are outputs of something else.
    """
    wanted = _wanted(outputs, options, preview, masks)
    existing = [path for path in wanted if path.exists()]
    if not existing:
        return None
    earlier = read_sidecar(outputs.sidecar)
    if earlier is None or _identity(earlier) != identity:
        why = "and was not made from this input by this model with these options"
    elif INTERRUPTED in (reason["code"] for reason in earlier["reasons"]):
        return None
    elif existing != wanted:
        why = f"but not {', '.join(path.name for path in wanted if path not in existing)}"
    elif older := [path.name for path in masks if path.name not in _recorded_masks(earlier)]:
        # Left behind by a call that replaced the segmentation without them.
        why = f"but was not written together with {', '.join(older)}"
    else:
        return earlier
    raise InputRefused(
        f"{existing[0]} exists, {why}: use --overwrite to replace it, or another -o", code="output-exists"
    )


def write_case(
    case: Case,
    outputs: Outputs,
    result: Segmentation,
    shown: Volume | None,
    maps: ZarrMaps | None,
    masks: bool,
    hurry: Event,
) -> dict[str, Any]:
    """Write every output of a case; the sidecar says "interrupted" until the last one is in place.

    Parameters
    ----------
    shown
        The scan, where a preview is wanted.
    maps
        Where probabilities or entropy have gone, if they were wanted.
    masks
        Whether to write the mask of each total.
    hurry
        Ends the writing after the file under way, as a Ctrl-C there would.

    Raises
    ------
    WriteFailed
        As `medseg.write`.
    """
    start = perf_counter()
    make_folder(outputs.sidecar.parent)
    unfinished = Verdict.of(
        "failed", INTERRUPTED, "medseg was stopped while it wrote the outputs of this case: run it again"
    )
    marker = undone_case(case.input, unfinished, result.model, result.provenance)
    write_text(outputs.sidecar, sidecar_text(marker))
    first, *others = outputs.segmentations
    for path in outputs.segmentations:
        write(result.labels, path, overwrite=True)
        _stop_if(hurry)
    written: dict[str, Written] = {"segmentation": first}
    if others:
        written["segmentations"] = [first, *others]
    if masks:
        written["masks"] = by_total = outputs.masks(total.name for total in result.totals)
        _write_masks(by_total, result, hurry)
    if maps is not None:
        group = maps.save()
        written |= {name: group / name for name in sorted(maps.names)}
        _stop_if(hurry)
    if shown is not None:
        _write_preview(outputs.preview, shown, result)
        written["preview"] = outputs.preview
    if case.id is not None:  # no path is told, and the outputs lie beside the sidecar
        written = {kind: _within(outputs.sidecar.parent, where) for kind, where in written.items()}
    document = done_case(case.input, written, result)
    writing = perf_counter() - start
    document["timings_s"]["write"] = round(writing, 4)
    document["timings_s"]["total"] = round(document["timings_s"]["total"] + writing, 4)
    write_text(outputs.sidecar, sidecar_text(document))
    return document


def _within(folder: Path, where: Written) -> Written:
    """The same, told from a folder."""
    if isinstance(where, dict):
        return {name: [path.relative_to(folder) for path in paths] for name, paths in where.items()}
    if isinstance(where, list):
        return [path.relative_to(folder) for path in where]
    return where.relative_to(folder)


def _write_masks(masks: Mapping[str, Sequence[Path]], result: Segmentation, hurry: Event) -> None:
    for name, paths in masks.items():
        mask = result.mask(name)
        for path in paths:
            write(mask, path, overwrite=True)
            _stop_if(hurry)


def _stop_if(hurry: Event) -> None:
    if hurry.is_set():
        raise KeyboardInterrupt


def _wanted(outputs: Outputs, options: InferOptions, preview: bool, masks: Sequence[Path]) -> Sequence[Path]:
    """Every file and folder that the call would write for a case."""
    maps = [outputs.maps, *(outputs.maps / name for name in sorted(options.maps))]
    extras = [outputs.preview] * preview + maps * bool(options.maps)
    return [*outputs.segmentations, *masks, *extras, outputs.sidecar]


def _recorded_masks(sidecar: Mapping[str, Any]) -> set[str]:
    """Names of the masks that were written with the segmentation of a sidecar."""
    masks = sidecar.get("masks")
    by_total = masks.values() if isinstance(masks, dict) else ()
    return {Path(path).name for paths in by_total for path in paths}


def _identity(sidecar: Mapping[str, Any]) -> Identity:
    provenance = sidecar["provenance"]
    model = provenance.get("model")
    return Identity(
        provenance.get("input_sha256"),
        model.get("sha256") if isinstance(model, dict) else None,
        provenance.get("options"),
    )


def _write_preview(path: Path, volume: Volume, result: Segmentation) -> None:
    from medseg.report.preview import preview_png  # matplotlib, only where a picture is wanted

    title = path.name.removesuffix("_seg.png")
    if result.verdict.status == "warning":
        title += f"   WARNING: {', '.join(result.verdict.codes)}"
    preview_png(volume, result.labels, result.measurements, path, title=title)
