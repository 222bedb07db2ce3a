"""Siemens mosaics: the slices of a volume as tiles of one big image.

How many tiles there are and which way they are stacked stands in Siemens' private header ("CSA"), the
distance in SpacingBetweenSlices. Where that is gone, as after anonymisation, the order of the slices is a
guess. So it is where the protocol numbers slices in reverse: readers disagree on whether the direction has
been turned as well. Then the image stays whole and has no place; it is for `series` to refuse it by name.
Sources: nibabel, "Siemens format DICOM with CSA header" and "DICOM mosaic" (its documentation); dcm2niix.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import replace

import numpy as np

from medseg.io.dicom import tags
from medseg.io.dicom.contrast import number_or_none
from medseg.io.dicom.elements import BadHeader, DataSet
from medseg.io.dicom.objects import Frame, Vector

_UNITED_GRID = 0x00651050  # United Imaging's number of images in a grid; how they are stacked is not read
_REVERSED = re.compile(rb"sSliceArray\.ucImageNumb\w{1,8}\s*=\s*(?:0x)?0*[1-9a-fA-F]")
_WORD = "MOSAIC"
_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")
# Siemens' own headers have some 100 tags of at most a few dozen items.
_MOST = 1000
_LARGEST = 1 << 22
_PARALLEL = 1e-3


def is_mosaic(dataset: DataSet, frame: Frame) -> bool:
    """Whether an image says of itself, or in the manufacturer's elements, that it holds several slices."""
    if frame.image.frames > 1 or frame.image.samples > 1:
        return False
    if _WORD in frame.image_type:
        return True
    if frame.image.modality not in ("MR", None):
        return False
    siemens = dataset.private(0x0019, "SIEMENS MR HEADER", 0x0A)
    united = _UNITED_GRID if (dataset.text(tags.Manufacturer) or "").upper().startswith("UIH") else None
    counts = [number_or_none(dataset, tag) or 0 for tag in (siemens, united) if tag is not None]
    return any(count > 1 for count in counts)


def split_mosaic(dataset: DataSet, frame: Frame) -> tuple[Frame, ...]:
    """The slices of a mosaic; one frame without a position where their number or order is not known.

    That frame has the word ``MOSAIC`` in its image type.
    """
    count, normal = _private_facts(dataset)
    if (
        count is None
        or normal is None
        or frame.step is None
        or frame.position is None
        or frame.row is None
        or frame.column is None
        or frame.pixel_spacing is None
        or not frame.step > 0
    ):
        return (_unplaced(frame),)
    across = math.isqrt(count - 1) + 1
    rows, columns = frame.rows // across, frame.columns // across
    direction = _along(normal, np.cross(frame.row, frame.column).astype(np.float64))
    if rows * across != frame.rows or columns * across != frame.columns or direction is None:
        return (_unplaced(frame),)
    between_rows, between_columns = frame.pixel_spacing
    # The position is the corner that one slice of the whole mosaic's size would have.
    first = (
        frame.position
        + frame.row * between_columns * (frame.columns - columns) / 2
        + frame.column * between_rows * (frame.rows - rows) / 2
    )
    return tuple(
        replace(
            frame,
            tile=(n // across * rows, n % across * columns, rows, columns),
            position=first + n * frame.step * direction,
        )
        for n in range(count)
    )


def _unplaced(frame: Frame) -> Frame:
    words = frame.image_type if _WORD in frame.image_type else (*frame.image_type, _WORD)
    return replace(frame, position=None, row=None, column=None, image_type=words)


def _along(normal: Vector, perpendicular: Vector) -> Vector | None:
    """The slices' own perpendicular with the sign of the stated normal, None where the two disagree."""
    length = float(np.linalg.norm(perpendicular) * np.linalg.norm(normal))
    cosine = float(perpendicular @ normal) / length if length > 0 else 0.0
    if abs(abs(cosine) - 1) > _PARALLEL:
        return None
    return np.asarray(perpendicular / np.linalg.norm(perpendicular) * np.sign(cosine))


def _private_facts(dataset: DataSet) -> tuple[int | None, Vector | None]:
    """Number of tiles and direction of the stack, as the private headers have them."""
    try:
        facts = _csa(_private(dataset, 0x10), ("NumberOfImagesInMosaic", "SliceNormalVector"))
        is_reversed = _REVERSED.search(_private(dataset, 0x20)) is not None
    except BadHeader:
        return None, None
    counts, normal = facts.get("NumberOfImagesInMosaic", ()), facts.get("SliceNormalVector", ())
    if len(counts) != 1 or len(normal) != 3 or not 1 <= counts[0] <= _MOST or is_reversed:
        return None, None
    return int(counts[0]), np.array(normal)


def _private(dataset: DataSet, number: int) -> bytes:
    tag = dataset.private(0x0029, "SIEMENS CSA HEADER", number)
    return b"" if tag is None else dataset.value(tag) or b""


def _csa(raw: bytes, wanted: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """The numbers of some tags of a CSA2 header; the older CSA1 counts as unknown."""
    if raw[:4] != b"SV10" or len(raw) > _LARGEST:
        raise BadHeader("no CSA2 header")
    found = {}
    try:
        count: int = struct.unpack_from("<I", raw, 8)[0]
        at = 16
        for _ in range(min(count, _MOST)):
            name, _, _, _, length, _ = _TAG.unpack_from(raw, at)
            values, at = _csa_values(raw, at + _TAG.size, length)
            name = name.partition(b"\0")[0].decode("ascii", errors="replace")
            if name in wanted:
                found[name] = tuple(_number(value) for value in values if value.strip(b" \0"))
    except struct.error:
        raise BadHeader("a CSA header that ends early") from None
    return found


def _csa_values(raw: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    values = []
    for _ in range(min(count, _MOST)):
        length: int = _ITEM.unpack_from(raw, at)[1]
        at += _ITEM.size
        if not 0 <= length <= len(raw) - at:
            raise BadHeader("a CSA header with a value past its end")
        values.append(raw[at : at + length])
        at += (length + 3) // 4 * 4
    return values, at


def _number(value: bytes) -> float:
    try:
        number = float(value.strip(b" \0"))
    except ValueError:
        raise BadHeader("a CSA header with words for numbers") from None
    if not math.isfinite(number):
        raise BadHeader("a CSA header with numbers that are not finite")
    return number
