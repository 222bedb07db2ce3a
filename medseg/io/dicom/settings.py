"""How an image was taken or reconstructed: tube voltage, kernel, flip angle, inversion time, and the like.

Two images of one position that differ in these are two kinds of image, whatever numbers or clocks say. All
of it is optional: a field that is absent or malformed says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from medseg.io.dicom import tags
from medseg.io.dicom.elements import BadHeader, DataSet
from medseg.io.dicom.objects import Frame

# Most telling first: the first that parts a series gives it its name. Objects of many frames have some of
# them under tags of their own.
_NUMBERS = {
    "KVP": (tags.KVP,),
    "FlipAngle": (tags.FlipAngle,),
    "InversionTime": (tags.InversionTime, tags.InversionTimes),
}
_TEXTS = {
    "ConvolutionKernel": (tags.ConvolutionKernel,),
    "ContrastBolusAgent": (tags.ContrastBolusAgent,),
    "FilterType": (tags.FilterType,),
    "SequenceName": (tags.SequenceName, tags.PulseSequenceName),
    "ScanOptions": (tags.ScanOptions,),
}
NAMES = ("KVP", "ConvolutionKernel", "FlipAngle", "InversionTime", *list(_TEXTS)[1:])
# No volume has two values of these where one position has both. Others may go on while volumes are taken, as
# the inversion times of a series that waits for the heart.
DECISIVE = ("KVP", "ConvolutionKernel", "FlipAngle")
# Closer numbers (kV, degrees, ms) count as one.
_APART = {"KVP": 0.5, "FlipAngle": 0.1, "InversionTime": 0.5}
_ABSENT = -math.inf
_CALLED = {
    "KVP": "kVp", "ConvolutionKernel": "kernel", "FlipAngle": "flip angle", "InversionTime": "TI",
    "ContrastBolusAgent": "contrast agent", "FilterType": "filter", "SequenceName": "sequence",
    "ScanOptions": "scan options",
}  # fmt: skip
# Siemens numbers the directions of diffusion in the sequence's name: repeats of one sequence.
_DIRECTION = re.compile(rb"#\d+$")
# Kernels that may be shown, since no name of a person looks like them: B30f, Br40d\3 of Siemens, FC08 of
# Canon, and the words of GE.
_KERNEL = re.compile(r"[A-Z][A-Za-z]?\d{2}[a-z]?(/\d)?")
_KERNELS = "STANDARD STND SOFT BONE BONEPLUS LUNG DETAIL EDGE CHST ULTRA"

Settings = tuple[tuple[str, float], ...]


def settings_of(*datasets: DataSet | None) -> Settings:
    """The settings that the first of the data sets to have each states: numbers, and digests of texts."""
    numbers = [(name, _first(datasets, of, _number)) for name, of in _NUMBERS.items()]
    digests = [(name, _first(datasets, of, _digest)) for name, of in _TEXTS.items()]
    return tuple((name, value) for name, value in (*numbers, *digests) if value is not None)


def kernel_of(dataset: DataSet) -> str:
    """The reconstruction kernel, where it is a code from a known list or of a known form; else ""."""
    try:
        code = "/".join(dataset.words(tags.ConvolutionKernel))
    except BadHeader:
        return ""
    return code if code in _KERNELS.split() or _KERNEL.fullmatch(code) else ""


def values(frames: Sequence[Frame], name: str) -> dict[int, float]:
    """By id of a frame, a number of its value of a setting: equal for equal values, and in a fixed order.

    Numbers are in ascending order, texts in that of the frames: their digests differ from process to process.
    """
    told = [dict(f.settings).get(name, _ABSENT) for f in frames]
    if name in _APART:
        known = np.unique(told)
        begins = np.concatenate([[True], np.diff(known) > _APART[name]])
        kinds = dict(zip(known.tolist(), known[begins][np.cumsum(begins) - 1].tolist(), strict=True))
    else:
        kinds = {value: float(n) for n, value in enumerate(dict.fromkeys(told))}
    return {id(f): kinds[value] for f, value in zip(frames, told, strict=True)}


def labels(groups: Sequence[Sequence[Frame]], name: str) -> list[str]:
    """What to call groups of frames that a setting tells apart: a number, a code, or which of how many."""
    shown = [_shown(group[0], name) for group in groups]
    what = _CALLED[name]
    if len(set(shown)) < len(shown):
        return [f"{what} {n} of {len(groups)}" for n in range(1, len(groups) + 1)]
    return [text or f"{what} {n} of {len(groups)}" for n, text in enumerate(shown, 1)]


def _shown(frame: Frame, name: str) -> str:
    value, what = dict(frame.settings).get(name), _CALLED[name]
    if value is None:
        return f"no {what}"
    if name == "ConvolutionKernel":
        return f"{what} {frame.kernel}" if frame.kernel else ""
    if name not in _NUMBERS:
        return ""
    return {"KVP": f"{value:g} {what}", "InversionTime": f"{what} {value:g} ms"}.get(
        name, f"{what} {value:g}"
    )


def _number(dataset: DataSet, tag: int) -> float | None:
    try:
        found = dataset.numbers(tag)
    except BadHeader:
        return None
    return None if found is None else float(found[0])


def _digest(dataset: DataSet, tag: int) -> float | None:
    # As StoredImage.patient: of one process, so that nobody can find a text from it.
    try:
        text = (dataset.value(tag) or b"").strip(b" \0")
    except BadHeader:
        return None
    return float(hash(_DIRECTION.sub(b"", text))) if text else None


def _first(
    datasets: Sequence[DataSet | None], of: Sequence[int], read: Callable[[DataSet, int], float | None]
) -> float | None:
    found = (read(dataset, tag) for dataset in datasets if dataset is not None for tag in of)
    return next((value for value in found if value is not None), None)
