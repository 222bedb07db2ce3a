"""How an object says its pixels are stored, checked before any is read.

Layout: PS3.3 C.7.6.3 (bits, samples, colour), PS3.5 section 8 and annex A.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.io.dicom.codestream import CODECS, BadPixels
from medseg.io.dicom.objects import StoredImage

_DICOM = "1.2.840.10008.1.2"
BIG_ENDIAN = (_DICOM + ".2", "1.2.840.113619.5.2")  # the second is GE's: only its pixels are
NATIVE = (_DICOM, _DICOM + ".1", _DICOM + ".1.99", *BIG_ENDIAN)
_PHOTOMETRIC = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"),
}
# Compressed frames: no scanner or camera makes larger ones, and decoders need several times as much.
_MOST_SAMPLES = 1 << 26


def container(image: StoredImage) -> np.dtype[Any]:
    """The unsigned type that holds one sample as it is stored; single bits become bytes."""
    return np.dtype(f"u{max(8, image.bits[0]) // 8}")


def shape(image: StoredImage) -> tuple[int, ...]:
    """(row, column), for colour (row, column, sample)."""
    return (image.rows, image.columns) + ((image.samples,) if image.samples > 1 else ())


def frame_bytes(image: StoredImage) -> int:
    """Bytes of one frame in memory."""
    return image.rows * image.columns * image.samples * container(image).itemsize


def check(image: StoredImage) -> None:
    """Refuse what is contradictory, of a kind that is not read, or longer or shorter than it says.

    Raises
    ------
    BadPixels
        ``undecodable``, ``truncated``, ``size-mismatch``, ``too-large``.
    """
    allocated, stored, high, signed = image.bits
    if image.pixels_at is None:
        raise BadPixels("it has no pixels")
    if min(image.rows, image.columns, image.frames) < 1:
        raise BadPixels(f"{image.frames} frames of {image.columns} x {image.rows} pixels")
    if image.photometric not in _PHOTOMETRIC.get(image.samples, ()) or image.planar not in (0, 1):
        raise BadPixels(f"{image.samples} samples per pixel do not go with its colour space")
    plain = allocated in (8, 16, 32) and 1 <= stored <= high + 1 <= allocated
    if not (plain or (image.bits == (1, 1, 0, False) and image.samples == 1)):
        raise BadPixels(f"{stored} bits stored in {allocated} with high bit {high}")
    if image.samples > 1 and (signed or (image.photometric != "RGB" and (allocated, stored) != (8, 8))):
        raise BadPixels(f"colours of {stored} bits in {allocated}, signed or not RGB")
    if image.photometric in ("YBR_RCT", "YBR_ICT") and CODECS.get(image.transfer_syntax) != "jpeg-2000":
        raise BadPixels("colours of JPEG 2000 in another transfer syntax")
    if image.photometric == "YBR_FULL_422" and image.columns % 2:
        raise BadPixels(f"chrominance for pairs of pixels, in {image.columns} columns")
    if image.transfer_syntax in NATIVE:
        _check_length(image)
    else:
        _check_compressed(image)


def _check_compressed(image: StoredImage) -> None:
    if image.transfer_syntax not in CODECS:
        raise BadPixels(f"pixels of the transfer syntax {image.transfer_syntax} are not read")
    if image.pixels_length is not None:
        raise BadPixels("its pixels do not come in the fragments that its transfer syntax needs")
    if image.bits[0] == 1 or image.bits[2] != image.bits[1] - 1:
        raise BadPixels(f"{image.bits[1]} bits with high bit {image.bits[2]}, compressed")
    if image.rows * image.columns * image.samples > _MOST_SAMPLES:
        raise BadPixels(
            f"compressed frames of {image.columns} x {image.rows} pixels; at most 64 million are read",
            "too-large",
        )


def _check_length(image: StoredImage) -> None:
    """The value has the length that the layout asks for; little more, as some writers pad to blocks."""
    assert image.pixels_at is not None
    if image.pixels_length is None:
        raise BadPixels("its pixels come in fragments, which its transfer syntax does not permit")
    expected = -(-image.frames * stored_bits(image) // 8)
    if image.pixels_length < expected or image.pixels_at + expected > image.source.size:
        raise BadPixels(
            f"{image.frames} frames of {image.columns} x {image.rows} pixels need {expected} bytes, "
            f"the file holds {max(0, min(image.pixels_length, image.source.size - image.pixels_at))}",
            "truncated",
        )
    spare = max(2, min(image.rows, image.columns) * image.samples * image.bits[0] // 8)
    if image.pixels_length - expected >= spare:
        raise BadPixels(
            f"{image.frames} frames of {image.columns} x {image.rows} pixels need {expected} bytes, "
            f"there are {image.pixels_length}: the header does not describe them",
            "size-mismatch",
        )


def stored_bits(image: StoredImage) -> int:
    """Bits of one native frame."""
    halved = image.photometric == "YBR_FULL_422"  # two pixels share one pair of chrominances
    samples = 2 if halved else image.samples
    return image.rows * image.columns * samples * image.bits[0]
