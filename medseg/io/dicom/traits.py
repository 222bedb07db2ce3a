"""What tells the images of one SeriesInstanceUID apart, and what to call it.

Traits are numbers and codes. Numbers that only rounding tells apart count as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.io.dicom.geometry import has_sound_place, is_colour, is_unplaced, normal_of
from medseg.io.dicom.objects import Frame
from medseg.verdict import Reason

# Closer directions (components of unit vectors), relative pixel spacings, echo times in ms and b-values in
# s/mm2 count as one. Whether they are one grid is for `geometry` to say, which is far stricter.
_DIRECTION_APART, _SPACING_APART, _ECHO_APART, _B_VALUE_APART = 0.01, 1e-3, 0.01, 0.5
# No scan has more kinds of images; in a hostile one the rest counts as one kind, and is refused for that.
_MOST_KINDS = 200
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Words of ImageType that may be shown: they come from the standard and from scanners, not from people.
_KNOWN_TYPES = """
    ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR MIP MINIP PROJECTION REFORMATTED AVERAGE VOLUME
    M P R I M_SE M_FFE M_IR PHASE MAGNITUDE REAL IMAGINARY ADC TRACEW FA DIFFUSION PERFUSION SUB SUBTRACT
    T1 T2 T2_STAR PROTON_DENSITY MAP CBF CBV MTT TTP W F IN_PHASE OPP_PHASE WATER FAT IP OP NORM ND DIS2D
    DIS3D MOSAIC OTHER NONE MIXED RESAMPLED MEAN ADD
"""


class Traits(NamedTuple):
    """What images of one volume have in common.

    ``echo``, ``b_value``, ``plane`` and ``spacing`` are numbers of clusters. ``film``: the object has more
    frames than it describes.
    """

    patient: int
    study: int
    modality: str | None
    number: int | None
    frame_of_reference: str
    aside: str
    film: bool
    matrix: tuple[int, int]
    pixels: tuple[int, int]
    kind: tuple[str, ...]
    stack: str
    component: str
    echo: int
    b_value: int
    plane: int
    spacing: int


def traits_of(frames: Sequence[Frame], number_tells: bool) -> list[Traits]:
    """The traits of each frame of one SeriesInstanceUID.

    ``number_tells``: the SeriesNumber is a trait, as where copies of one image share a UID.
    """
    echoes = alike([[_or_nan(f.echo)] for f in frames], _ECHO_APART)
    b_values = alike([[_or_nan(f.b_value)] for f in frames], _B_VALUE_APART)
    planes = alike([_directions(f) for f in frames], _DIRECTION_APART)
    spacings = alike([_log_spacing(f) for f in frames], _SPACING_APART)
    # Some programs draw a new StudyInstanceUID for every file they write: that tells nothing.
    studies = {id(f.image): f.image.study for f in frames}
    study_tells = len(set(studies.values())) < len(studies)
    described = Counter(id(f.image) for f in frames)
    return [
        Traits(
            patient=f.image.patient,
            study=f.image.study if study_tells else 0,
            modality=f.image.modality,
            number=f.image.series_number if number_tells else None,
            frame_of_reference=f.image.frame_of_reference,
            aside=aside_code(f),
            film=f.tile is None and f.image.frames > described[id(f.image)],
            matrix=(f.columns, f.rows),
            pixels=(f.image.samples, f.image.bits[0]),
            kind=f.image_type[:3],
            stack=f.stack,
            component=f.component,
            echo=int(echo),
            b_value=int(b),
            plane=int(plane),
            spacing=int(spacing),
        )
        for f, echo, b, plane, spacing in zip(frames, echoes, b_values, planes, spacings, strict=True)
    ]


def aside_code(frame: Frame) -> str:
    """The code under which a frame is set aside rather than read among scans; "" for a scan's."""
    if "LOCALIZER" in frame.image_type:
        return "localizer"
    if is_unplaced(frame) and is_colour(frame):
        return "colour-page"
    if is_unplaced(frame) and frame.image.sop_class.startswith(_SECONDARY_CAPTURE):
        return "secondary-capture"
    return ""


def kind_fault(traits: Traits, frame: Frame) -> Reason | None:
    """Why frames of these traits cannot be slices at all, whatever their places."""
    if traits.film:
        text = f"{frame.image.frames} frames in one object that does not say where each lies (a film?)"
        return Reason("multi-frame", text)
    if "MOSAIC" in frame.image_type and frame.tile is None and is_unplaced(frame):
        text = "the slices of a volume as tiles of one image, and the header no longer tells their order"
        return Reason("mosaic", f"{text}; export it with the manufacturer's private elements")
    return None


def alike(values: ArrayLike, tolerance: float) -> NDArray[np.intp]:
    """Numbers of the clusters that rows of ``values`` (N, D) fall into, in the order they appear.

    A row joins the first cluster whose first member differs by at most ``tolerance`` in every column; NaN is
    like NaN.
    """
    table = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=-2e9).clip(-2e9, 1e9)
    table, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    cluster, count = np.full(len(table), -1), 0
    for row in np.argsort(first):
        if cluster[row] >= 0:
            continue
        near = cluster < 0
        if count < _MOST_KINDS:
            near &= (np.abs(table - table[row]) <= tolerance).all(axis=1)
        cluster[near] = count
        count += 1
    return np.asarray(cluster[inverse.reshape(-1)])


def plane_name(frame: Frame) -> str:
    """``"axial"``, ``"sagittal"`` or ``"coronal"``, after ``"oblique "`` beyond a degree; "" if unsound."""
    if not has_sound_place(frame):
        return ""
    cosines = np.abs(normal_of(frame))
    name = ("sagittal", "coronal", "axial")[int(cosines.argmax())]
    return name if cosines.max() >= np.cos(np.radians(1.0)) else f"oblique {name}"


def words(samples: Sequence[tuple[Traits, Frame]]) -> list[str]:
    """For each group of frames of one series, what tells it from the others: codes and numbers only.

    ``samples`` has the traits and one frame of each group.
    """
    told: list[list[str]] = [[] for _ in samples]
    for trait, name in _NAMES.items():
        values = [getattr(traits, trait) for traits, _ in samples]
        kinds = {value: n for n, value in enumerate(dict.fromkeys(values), 1)}
        if len(kinds) == 1:
            continue
        for n, (value, (_, frame)) in enumerate(zip(values, samples, strict=True)):
            told[n].append(name(frame) or f"{trait.replace('_', ' ')} {kinds[value]} of {len(kinds)}")
    return [", ".join(item) for item in told]


def _kind_name(frame: Frame) -> str:
    known = all(word in _KNOWN_TYPES.split() for word in frame.image_type)
    return "/".join(frame.image_type[:3]) if known and frame.image_type else ""


def _number_name(frame: Frame) -> str:
    return "" if frame.image.series_number is None else f"series number {frame.image.series_number}"


def _echo_name(frame: Frame) -> str:
    return "no echo time" if frame.echo is None else f"echo time {frame.echo:.4g} ms"


def _b_value_name(frame: Frame) -> str:
    return "no b-value" if frame.b_value is None else f"b = {frame.b_value:.4g}"


def _spacing_name(frame: Frame) -> str:
    if frame.pixel_spacing is None:
        return "pixels of unknown size"
    down, along = frame.pixel_spacing
    return f"pixels of {along:.4g} x {down:.4g} mm"


def _pixels_name(frame: Frame) -> str:
    return "colour" if is_colour(frame) else f"{frame.image.bits[0]} bits"


# An empty name means: say which of how many.
_NAMES: dict[str, Callable[[Frame], str]] = {
    "patient": lambda _: "",
    "study": lambda _: "",
    "number": _number_name,
    "frame_of_reference": lambda _: "",
    "pixels": _pixels_name,
    "kind": _kind_name,
    "stack": lambda _: "",
    "component": lambda frame: frame.component.lower() or "no component",
    "echo": _echo_name,
    "b_value": _b_value_name,
    "plane": lambda _: "",
    "spacing": _spacing_name,
}


def _directions(frame: Frame) -> list[float]:
    if frame.row is None or frame.column is None:
        return [np.nan] * 6
    return [*frame.row.tolist(), *frame.column.tolist()]


def _log_spacing(frame: Frame) -> list[float]:
    spacing = frame.pixel_spacing
    if spacing is None or not min(spacing) > 0:
        return [np.nan, np.nan]
    return np.log(spacing).tolist()  # type: ignore[no-any-return]


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
