"""Seeds of DICOM scans (pydicom, dcmtk): transfer syntaxes, classic and enhanced, folder, zip, DICOMDIR."""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite, uid
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from tests.acceptance.files.canary import BIRTH_DATE, CANARY
from tests.acceptance.files.seeds import Seed, gathered, real_data
from tests.io.dicom.test_mosaic import write_mosaic

ROWS, COLUMNS, SLICES = 34, 38, 3  # no smaller: OpenJPEG needs 32
ROW = np.array([0.96, 0.28, 0.0])
COLUMN = np.array([-0.28 * 0.8, 0.96 * 0.8, 0.6])
FIRST = np.array([-101.5, 42.25, 310.125])
STEP = 2.5 * np.cross(ROW, COLUMN)
SERIES = "1.2.826.0.1.3680043.8.498.1"
_NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian)
_PACKED = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEG2000)
_AS_BYTES = re.compile(rb"[\0-\x7f][\0\x40\x50\x54\x7f]..OB\0\0....", re.DOTALL)
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
# Options of dcmcjpeg.
_JPEGS = {"jpeg_lossless_sv1": "+e1", "jpeg_lossless": "+el", "jpeg_baseline": "+eb", "jpeg_extended": "+ee"}


def patient(dataset: Dataset) -> None:
    """Write the patient into a text field of every kind that may hold free text."""
    dataset.PatientName = dataset.ReferringPhysicianName = CANARY  # PN
    dataset.PatientID = dataset.StudyDescription = dataset.SeriesDescription = CANARY  # LO
    dataset.AccessionNumber = dataset.StationName = CANARY[:16]  # SH
    dataset.InstitutionAddress = CANARY  # ST
    dataset.PatientComments = dataset.ImageComments = CANARY  # LT
    dataset.TextValue = CANARY  # UT
    dataset.BodyPartExamined = CANARY.upper().replace("^", "_")[:16]  # CS
    dataset.PatientBirthDate = BIRTH_DATE  # DA
    other = Dataset()
    other.PatientID = CANARY
    dataset.OtherPatientIDsSequence = Sequence([other])
    block = dataset.private_block(0x0011, CANARY[:8], create=True)
    block.add_new(1, "LO", CANARY)
    block.add_new(2, "UN", CANARY.encode())


def pixels(number: int, dtype: str = "u2", shape: tuple[int, ...] = (ROWS, COLUMNS)) -> NDArray[Any]:
    """Stored values of one slice."""
    values = np.random.default_rng(number).permutation(int(np.prod(shape))).reshape(shape)
    return (values + 100 * number * (dtype != "u1")).astype(dtype)


def blank(sop_class: str, number: int = 0, syntax: str = uid.ExplicitVRLittleEndian) -> FileDataset:
    """An object without pixels: identifiers, patient, modality."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"{SERIES}.{sop_class.rsplit('.', 1)[-1]}.{number + 1}"
    meta.TransferSyntaxUID = syntax
    item = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    item.StudyInstanceUID, item.SeriesInstanceUID = f"{SERIES}.0", SERIES
    item.FrameOfReferenceUID, item.Modality, item.SeriesNumber = f"{SERIES}.9", "CT", 3
    item.StudyDate, item.StudyTime, item.StudyID = "20200102", "030405", CANARY[:16]
    item.InstanceNumber = number
    patient(item)
    return item


def fill(item: Dataset, values: NDArray[Any], stored: int | None = None) -> None:
    """Set PixelData and what describes it; ``values`` (frames, rows, columns) or (rows, columns[, 3])."""
    colour = values.shape[-1] == 3
    item.SamplesPerPixel = 3 if colour else 1
    item.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        item.PlanarConfiguration = 0
    item.Rows, item.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    bits = 8 * values.dtype.itemsize
    item.BitsAllocated, item.BitsStored = bits, stored or bits
    item.HighBit, item.PixelRepresentation = item.BitsStored - 1, int(values.dtype.kind == "i")
    content = values.tobytes()
    item.PixelData = content + bytes(len(content) % 2)
    item["PixelData"].VR = "OW" if bits > 8 else "OB"


def made_slice(number: int, values: NDArray[Any] | None = None, **tags: Any) -> FileDataset:
    """One classic CT slice: oblique, its position its own, rescaled."""
    item = blank(uid.CTImageStorage, number)
    item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.PixelSpacing, item.SliceThickness = [0.75, 1.25], 99.0
    item.ImageOrientationPatient = [f"{x:.10g}" for x in (*ROW, *COLUMN)]
    item.ImagePositionPatient = [f"{x:.10g}" for x in FIRST + number * STEP]
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    fill(item, pixels(number) if values is None else values, 12 if values is None else None)
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def to_bytes(item: FileDataset, syntax: str | None = None) -> bytes:
    """The object as a file, in a transfer syntax (compressed by pydicom where that is one)."""
    if syntax in _PACKED:
        item.compress(
            syntax, **({"j2k_cr": [5]} if syntax == uid.JPEG2000 else {}), generate_instance_uid=False
        )
    elif syntax is not None:
        item.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    item.save_as(out, enforce_file_format=True)
    return out.getvalue()


def set_raw(item: Dataset, tag: BaseTag, value: bytes) -> None:
    """Any bytes as an element's value, whatever its kind of value; `saved_raw` writes the object."""
    item.add(DataElement(tag, "OB", value + b" " * (len(value) % 2)))


def saved_raw(item: Dataset) -> bytes:
    """An object with elements of `set_raw`, each under the VR that belongs to its tag.

    pydicom would check the values; under OB it does not, so the VRs are put right afterwards. A short VR has
    a head that is four bytes shorter: four spaces more in the value keep the lengths of sequences true.
    """
    out = io.BytesIO()
    dcmwrite(out, item)
    return _AS_BYTES.sub(_with_own_vr, out.getvalue())


def _with_own_vr(found: re.Match[bytes]) -> bytes:
    group, number, length = struct.unpack("<HH4xI", found[0])
    tag = Tag(group, number)
    vr = dictionary_VR(tag).partition(" ")[0].encode() if dictionary_has_tag(tag) else b"OB"
    if vr in _LONG or length > 60_000:
        return found[0][:4] + (vr if vr in _LONG else b"OB") + found[0][6:]
    return found[0][:4] + vr + struct.pack("<H", length + 4) + b"    "


def big_endian(number: int) -> bytes:
    """A slice in the retired big-endian syntax."""
    item = made_slice(number)
    item.PixelData = pixels(number).astype(">u2").tobytes()
    item.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    out = io.BytesIO()
    dcmwrite(out, item, implicit_vr=False, little_endian=False, force_encoding=True)
    return out.getvalue()


def enhanced(sop_class: str = uid.EnhancedMRImageStorage, *, slope_per_frame: bool = True) -> FileDataset:
    """An enhanced multi-frame object: geometry and rescale in functional groups."""
    item = blank(sop_class)
    item.Modality = "MR"
    item.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    fill(item, np.stack([pixels(n) for n in range(SLICES)]), 12)
    item.NumberOfFrames = SLICES
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 1.25], 2.0
    orientation.ImageOrientationPatient = [f"{x:.10g}" for x in (*ROW, *COLUMN)]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    item.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number in (2, 0, 1):  # frames lie in no order
        position, content, values, group = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [f"{x:.10g}" for x in FIRST + number * STEP]
        content.StackID, content.InStackPositionNumber = "1", number + 1
        values.RescaleSlope = 1.5 + number * slope_per_frame
        values.RescaleIntercept, values.RescaleType = -3, "US"
        group.PlanePositionSequence = Sequence([position])
        group.FrameContentSequence = Sequence([content])
        group.PixelValueTransformationSequence = Sequence([values])
        frames.append(group)
    item.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return item


def dicom(folder: Path) -> Iterator[Seed]:
    """Every kind of scan that the reader takes, and folders with what it sets aside."""
    names = [f"IM{n:03d}.dcm" for n in range(SLICES)]
    for syntax in (*_NATIVE, *_PACKED):
        made = {name: to_bytes(made_slice(n), syntax) for n, name in enumerate(names)}
        yield Seed("dicom", f"classic {uid.UID(syntax).name}", made, "")
    yield Seed("dicom", "classic big endian", {x: big_endian(n) for n, x in enumerate(names)}, "")
    plain = {name: to_bytes(made_slice(n)) for n, name in enumerate(names)}
    yield Seed("dicom", "one file of a series", plain, names[1])
    yield Seed("dicom", "one slice", {names[0]: plain[names[0]]}, names[0])
    for kind in ("u1", "i2", "u2", "i4"):
        made = {name: to_bytes(made_slice(n, pixels(n, kind))) for n, name in enumerate(names)}
        yield Seed("dicom", f"stored as {kind}", made, "")
    sloped = {name: to_bytes(made_slice(n, RescaleSlope=0.5 + n)) for n, name in enumerate(names)}
    yield Seed("dicom", "own slope in each slice", sloped, "")
    yield from _jpegs(folder)
    for sop_class in (uid.EnhancedMRImageStorage, uid.EnhancedCTImageStorage):
        for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless):
            content = {"multi.dcm": to_bytes(enhanced(sop_class), syntax)}
            yield Seed("dicom", f"{uid.UID(sop_class).name} {uid.UID(syntax).name}", content, "multi.dcm")
    colour = made_slice(0, pixels(0, "u1", (ROWS, COLUMNS, 3)))
    yield Seed("dicom", "a page in colour", {"c.dcm": to_bytes(colour)}, "c.dcm")
    yield Seed("dicom", "a study", {**_study(plain)}, "")
    yield Seed("dicom", "zip", {"study.zip": _zipped(_study(plain))}, "study.zip")
    yield _dicomdir(folder / "dicomdir", plain)
    yield _mosaic(folder / "mosaic.dcm")
    yield from _real()


def _jpegs(folder: Path) -> Iterator[Seed]:
    """What pydicom has no encoder for, made by dcmtk where it is installed."""
    if shutil.which("dcmcjpeg") is None:
        return
    for name, option in _JPEGS.items():
        kind = "u1" if name == "jpeg_baseline" else "u2"
        files = {}
        for n in range(SLICES):
            before, after = folder / "before.dcm", folder / "after.dcm"
            item = made_slice(n, pixels(n, kind), RescaleIntercept=0)
            if name == "jpeg_extended":
                item.BitsStored, item.HighBit = 12, 11
            before.write_bytes(to_bytes(item))
            subprocess.run(["dcmcjpeg", option, before, after], check=True, capture_output=True)
            files[f"IM{n:03d}.dcm"] = after.read_bytes()
        yield Seed("dicom", name, files, "")


def _study(plain: dict[str, bytes]) -> dict[str, bytes]:
    """A series in a subfolder, with things beside it that are no part of it."""
    report = blank(uid.ComprehensiveSRStorage, 7)
    report.Modality, report.SeriesInstanceUID = "SR", f"{SERIES}.77"
    scout = made_slice(8, SeriesInstanceUID=f"{SERIES}.88", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return {
        **{f"ct/{name}": content for name, content in plain.items()},
        "sr/report.dcm": to_bytes(report),
        "scout.dcm": to_bytes(scout),
        "notes.txt": b"not DICOM\n",
    }


def _zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _mosaic(path: Path) -> Seed:
    protocol = b"sSliceArray.lSize = 7\n" + CANARY.encode()
    item = write_mosaic(path, protocol=protocol)
    patient(item)
    return Seed("dicom", "mosaic", {"m.dcm": to_bytes(item)}, "m.dcm")


def _dicomdir(folder: Path, plain: dict[str, bytes]) -> Seed:
    records = FileSet()
    before = folder.with_name("loose")
    before.mkdir(parents=True)
    for name, content in plain.items():
        (before / name).write_bytes(content)
        records.add(before / name)
    records.write(folder)
    records._stage["t"].cleanup()  # pydicom leaves that to the garbage collector, which warns
    return gathered("dicom", "DICOMDIR", folder, "DICOMDIR")


def _real() -> Iterator[Seed]:
    data = real_data()
    if data is None:
        return
    yield gathered("dicom", "generic_rgb", data / "dicom" / "generic_rgb" / "001")
    repeated = data / "dicom" / "repeated_positions_4d"
    yield gathered("dicom", "repeated_positions_4d", repeated, options={"series": 1})
    for name in (
        "generic_compressed_jpeg/001",
        "generic_compressed_jpegls/001",
        "generic_compressed_j2k/001",
    ):
        paths = sorted(path for path in (data / "dicom" / name).iterdir() if path.is_file())[:3]
        yield Seed("dicom", name, {path.name: path.read_bytes() for path in paths}, "")
