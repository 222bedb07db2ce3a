"""What tells several images at one position apart: echo, diffusion weighting, phase or magnitude, time.

All of it is optional: a field that is absent or malformed says nothing, and images that nothing tells apart
are refused later as repeated positions.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from medseg.io.dicom import tags
from medseg.io.dicom.elements import BadHeader, DataSet

Moment = tuple[tuple[str, float], ...]

_COMPONENTS = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY"}
_WORDS = {**_COMPONENTS, **{name: name for name in _COMPONENTS.values()}, "PHASE MAP": "PHASE"}
_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2}(?:\.\d{1,6})?))?)?")
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")

# Most telling first. InstanceNumber last, as it tells everything apart, also what belongs together.
_OF_OBJECT = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "TriggerTime",
    "FrameReferenceTime", "AcquisitionDateTime", "AcquisitionTime", "ContentTime", "InstanceNumber",
)  # fmt: skip
_OF_FRAME_CONTENT = (
    "TemporalPositionIndex", "FrameAcquisitionNumber", "FrameReferenceDateTime", "FrameAcquisitionDateTime",
)  # fmt: skip
_CLOCKS = frozenset(
    ("AcquisitionDateTime", "AcquisitionTime", "ContentTime", "FrameReferenceDateTime",
     "FrameAcquisitionDateTime")
)  # fmt: skip
# Dimensions that say where a frame lies, not when it was taken.
_PLACES = frozenset(
    (tags.InStackPositionNumber, tags.StackID, tags.ImagePositionPatient, tags.ReferencedSegmentNumber)
)


def number_or_none(dataset: DataSet | None, tag: int) -> float | None:
    """A number that the reader can do without."""
    if dataset is None:
        return None
    try:
        return dataset.number(tag)
    except BadHeader:
        return None


def component_of(dataset: DataSet | None, image_type: Sequence[str]) -> str:
    """``"MAGNITUDE"``, ``"PHASE"``, ``"REAL"``, ``"IMAGINARY"``, or "" where nothing says.

    The attribute of enhanced objects (PS3.3, C.8.13.3.1.1) before the words that vendors append to
    ImageType: Siemens ``M``, ``P``, ``R``, ``I``; Philips ``M_FFE``, ``PHASE MAP``, ...; before GE's
    private raw data type.
    """
    stated = dataset.text(tags.ComplexImageComponent) if dataset is not None else None
    if stated in _COMPONENTS.values():
        return str(stated)
    for word in image_type[2:]:
        name = _WORDS.get(word) or (_COMPONENTS.get(word[:1]) if word[1:2] == "_" else None)
        if name is not None:
            return name
    raw_data_type = dataset.private(0x0043, "GEMS_PARM_01", 0x2F) if dataset is not None else None
    if raw_data_type is None:
        return ""
    kind = number_or_none(dataset, raw_data_type)
    return "" if kind is None else dict(enumerate(_COMPONENTS.values())).get(int(kind), "")


def b_value(dataset: DataSet) -> float | None:
    """Diffusion b-value in s/mm2: the standard's attribute, else the private ones of three vendors."""
    stated = number_or_none(dataset, tags.DiffusionBValue)
    if stated is not None:
        return stated
    for group, creator, number in (
        (0x0019, "SIEMENS MR HEADER", 0x0C),
        (0x2001, "Philips Imaging DD 001", 0x03),
    ):
        tag = dataset.private(group, creator, number)
        if tag is not None:
            return number_or_none(dataset, tag)
    return _ge_b_value(dataset)


def _ge_b_value(dataset: DataSet) -> float | None:
    tag = dataset.private(0x0043, "GEMS_PARM_01", 0x39)
    if tag is None:
        return None
    try:
        numbers = dataset.numbers(tag)
    except BadHeader:
        return None
    # Some releases add 10^9 to the value, to mark it as one of several in the series.
    return None if numbers is None else float(numbers[0] % 100_000)


def object_moment(dataset: DataSet) -> Moment:
    """What may tell repeats in time apart, of an object with one frame."""
    return _numbers(dataset, _OF_OBJECT)


def frame_moment(
    content: DataSet | None, temporal: DataSet | None, cardiac: DataSet | None, dimensions: Sequence[int]
) -> Moment:
    """What may tell repeats in time apart, of a frame.

    Parameters
    ----------
    content, temporal, cardiac
        The items of FrameContentSequence, TemporalPositionSequence and CardiacSynchronizationSequence.
    dimensions
        The attributes that DimensionIndexValues count, as `dimension_pointers` gives them. Those that are no
        place come last, by number: gradient directions, for one.
    """
    found = [
        *_numbers(content, _OF_FRAME_CONTENT),
        *_numbers(temporal, ("TemporalPositionTimeOffset",)),
        *_numbers(cardiac, ("NominalCardiacTriggerDelayTime",)),
    ]
    try:
        values = content.numbers(tags.DimensionIndexValues) if content is not None else None
    except BadHeader:
        values = None
    if values is not None and len(values) == len(dimensions):
        found += [
            (f"DimensionIndexValues {n}", float(value))
            for n, (pointer, value) in enumerate(zip(dimensions, values, strict=True), 1)
            if pointer not in _PLACES
        ]
    return tuple(found)


def dimension_pointers(dataset: DataSet) -> tuple[int, ...]:
    """The tags that DimensionIndexValues of each frame count, 0 where one is malformed."""
    found = []
    for item in dataset.items(tags.DimensionIndexSequence):
        try:
            pair = item.numbers(tags.DimensionIndexPointer, 2)
        except BadHeader:
            pair = None
        found.append(0 if pair is None else int(pair[0]) << 16 | int(pair[1]))
    return tuple(found)


def _numbers(dataset: DataSet | None, names: Sequence[str]) -> Moment:
    if dataset is None:
        return ()
    found = []
    for name in names:
        tag = getattr(tags, name)
        if tag in dataset:
            value = seconds(dataset.text(tag)) if name in _CLOCKS else number_or_none(dataset, tag)
            if value is not None:
                found.append((name, value))
    return tuple(found)


def seconds(text: str | None) -> float | None:
    """A DICOM time (TM) in seconds of its day, a date and time (DT) in seconds since the year 1."""
    date = _DATE.match(text or "")
    days = 0
    if text is None:
        return None
    if len(text.partition(".")[0]) >= 14 and date is not None:
        try:
            days = datetime.date(*(int(part) for part in date.groups())).toordinal()
        except ValueError:
            return None
        text = text[8:]
    time = _TIME.match(text)
    if time is None:
        return None
    hours, minutes, rest = (float(part or 0) for part in time.groups())
    return days * 86400.0 + hours * 3600 + minutes * 60 + rest
