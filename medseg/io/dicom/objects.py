"""What medseg knows of a DICOM object before its pixels are decoded: its pixel layout and its frames.

The unit of the reader is the frame: a slice. A file of the classic kind holds one, an enhanced
multi-frame object or a mosaic many. Positions and directions are as DICOM has them, LPS millimetres; only
`geometry` turns them into RAS+.

No free text of a header is kept here: whatever is text is a code from a known list or of a known form, or a
UID that has been checked to be one. So nothing in here can name a patient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class BadHeader(ValueError):
    """A header that contradicts itself or the file. The message quotes no value."""

    def __init__(self, message: str, code: str = "bad-header") -> None:
        super().__init__(message)
        self.code = code


class Source(Protocol):
    """Where the bytes of one DICOM object are: a file, or a member of a zip archive."""

    @property
    def path(self) -> Path:
        """The file on the disk: the object itself, or the archive that holds it."""

    @property
    def name(self) -> str:
        """What messages call it: the file's name, or ``archive.zip, member 2``."""

    @property
    def size(self) -> int:
        """Bytes of the object, before any inflation of a deflated transfer syntax."""

    def read(self, start: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``start`` on; fewer only at the end."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """One DICOM object with pixels: how they are stored. Shared by all of its frames.

    Parameters
    ----------
    source
        Its bytes; of a deflated object those of the inflated data set (`sources.Inflated`).
    sop_class, sop_uid, series_uid, frame_of_reference, transfer_syntax
        UIDs ("" where absent or not a UID).
    series_number
        None where absent.
    modality
        A code from DICOM's list, else None.
    rows, columns, frames, samples, planar
        Pixel layout; ``frames`` is what the header says, 1 where it does not. ``planar`` 1: colour by plane.
    photometric
        ``"MONOCHROME1"``, ``"MONOCHROME2"``, ``"RGB"``, ``"YBR_FULL"``, ``"PALETTE COLOR"``, ...
    bits
        (allocated, stored, high bit, signed).
    pixels_at, pixels_length
        Where the value of PixelData begins in the data set, and its length in bytes, None where it is
        encapsulated (a sequence of fragments). Both None where there is none. They count in ``source``.
    lossy
        LossyImageCompression is "01".
    patient, study
        Numbers that differ between patients and between studies, and say nothing else about them: UIDs
        that an anonymiser has emptied or made alike must not mix their images. Good within one process.
    series
        Such a number for the series, whose UID may be none; None where it is absent.
    """

    source: Source
    sop_class: str
    sop_uid: str
    series_uid: str
    series_number: int | None
    frame_of_reference: str
    transfer_syntax: str
    modality: str | None
    rows: int
    columns: int
    frames: int
    samples: int
    planar: int
    photometric: str
    bits: tuple[int, int, int, bool]
    pixels_at: int | None
    pixels_length: int | None
    lossy: bool = False
    patient: int = 0
    study: int = 0
    series: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One slice: which pixels, where they lie in the patient, what turns them into values.

    Parameters
    ----------
    image, number
        The object and the frame's number in it, from 0.
    tile
        Of a mosaic: (first row, first column, rows, columns) of this slice in the frame; else None.
    position, row, column
        LPS mm of the first pixel's centre, unit vectors along which the column index and the row index
        grow. None where the object does not place itself in the patient.
    pixel_spacing
        (between rows, between columns) in mm.
    spacing_measured
        False where PixelSpacing is only the detector's own.
    thickness, step
        SliceThickness and SpacingBetweenSlices, for a lone slice; nothing else uses them.
    slope, intercept
        Rescale; NaN where the header has something that is no number, or a slope of 0.
    has_lookup_table
        A modality lookup table maps the values.
    image_type
        ImageType or FrameType, upper case, only words of letters, digits, ``_``, ``-`` and space; a word
        that is anything else is "".
    echo, b_value, component
        What tells several images at one position apart: echo time in ms, diffusion b-value in s/mm2,
        ``"MAGNITUDE"``, ``"PHASE"``, ``"REAL"``, ``"IMAGINARY"`` or "".
    settings
        How the image was taken or reconstructed, as `settings` finds it: (name of attribute, value) pairs,
        e.g. ``("KVP", 120.0)``. Of a text, a number as `StoredImage.patient` is one.
    kernel
        ConvolutionKernel where it is a code that may be shown, such as ``"B30f"``; "" otherwise.
    stack
        StackID of an enhanced object, "" otherwise.
    moment
        Numbers that may tell repeats in time apart, most telling first, as `contrast` finds them:
        (name of attribute, value) pairs, e.g. ``("TemporalPositionIdentifier", 2.0)``.
    segment
        Of a segmentation: the segment's number; else None.
    """

    image: StoredImage
    number: int = 0
    tile: tuple[int, int, int, int] | None = None
    position: Vector | None = None
    row: Vector | None = None
    column: Vector | None = None
    pixel_spacing: tuple[float, float] | None = None
    spacing_measured: bool = True
    thickness: float | None = None
    step: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    has_lookup_table: bool = False
    image_type: tuple[str, ...] = ()
    echo: float | None = None
    b_value: float | None = None
    component: str = ""
    settings: tuple[tuple[str, float], ...] = ()
    kernel: str = ""
    stack: str = ""
    moment: tuple[tuple[str, float], ...] = ()
    segment: int | None = None

    @property
    def rows(self) -> int:
        """Rows of this slice (of the tile, in a mosaic)."""
        return self.image.rows if self.tile is None else self.tile[2]

    @property
    def columns(self) -> int:
        """Columns of this slice."""
        return self.image.columns if self.tile is None else self.tile[3]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that is no scan to segment, and why, by name.

    Codes: ``localizer``, ``colour-page``, ``secondary-capture``, ``dose-report``, ``report`` (SR, KO, PR,
    encapsulated documents), ``segmentation``, ``structure-set``, ``dose``, ``plan``, ``directory``,
    ``whole-slide``, ``waveform``, ``not-an-image``, ``not-dicom``, ``empty``, ``unreadable``.
    """

    code: str
    source: Source = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """A file that may hold a slice and cannot be had, or a folder that may hold some.

    Parameters
    ----------
    code
        ``missing-files`` where it is listed or linked to and is not there; else the code that would refuse
        it: ``bad-header``, ``unreadable``, ...
    name
        Its path below what the caller named; of a member what `Source.name` calls it.
    message
        What is wrong with it; "" where it is missing.
    path
        Where it is or should be; of a member the archive.
    medium
        The folder of the DICOMDIR that lists it, on which any file may be a slice of any series; else None.
    others
        SeriesInstanceUIDs that it is known not to be of.
    """

    code: str
    name: str
    message: str
    path: Path
    medium: Path | None = None
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Everything at a path: the frames of its scans, what was set aside, and what could not be had.

    ``whole`` is False where the path is one object, and the others are only what lies beside it.
    """

    frames: tuple[Frame, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    lost: tuple[Lost, ...] = ()
    whole: bool = True


def name_in(source: Source, path: Path | None) -> str:
    """What to call an object for who named ``path``: its path below that, or `Source.name`."""
    if path is None or source.name != source.path.name:
        return source.name
    return path_in(source.path, path)


def path_in(file: Path, path: Path) -> str:
    """A file's path below a folder, or below the folder of a file; its name where it lies elsewhere."""
    root = path if path.is_dir() else path.parent
    for base in (root, root.resolve()):
        if file.is_relative_to(base):
            return file.relative_to(base).as_posix()
    return file.name
