"""Made-up Siemens mosaics against dcm2niix: where each tile lies, and which voxels it holds."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset

from medseg.io.dicom.files import read_source
from medseg.io.dicom.objects import Frame
from medseg.io.dicom.sources import FileSource

ROW = np.array([0.96, 0.28, 0.0])
COLUMN = np.array([-0.28 * 0.8, 0.96 * 0.8, 0.6])
NORMAL = np.cross(ROW, COLUMN)
ACROSS, TILE_ROWS, TILE_COLUMNS = 3, 10, 14
Vector = NDArray[np.float64]


def csa(count: int | str, normal: Vector | None) -> bytes:
    """A CSA2 header as nibabel's documentation describes it."""
    tags: dict[str, list[str]] = {"EchoLinePosition": [], "NumberOfImagesInMosaic": [str(count)]}
    if normal is not None:
        tags["SliceNormalVector"] = [f"{x:.8f}" for x in normal]
    made = b"SV10\x04\x03\x02\x01" + struct.pack("<II", len(tags), 77)
    for name, values in tags.items():
        made += struct.pack("<64si4siii", name.encode(), len(values), b"FD", 4, 6, 77)
        for value in (values + 6 * [""])[:6]:
            stored = value.encode() + b"\0" * bool(value)  # dcm2niix reads on to a zero
            made += struct.pack("<4i", len(stored), len(stored), 77, len(stored))
            made += stored + bytes(-len(stored) % 4)
    return made + bytes(16)


def write_mosaic(
    path: Path,
    *,
    count: int = 7,
    stated: int | str | None = None,
    normal: Vector | None = NORMAL,
    protocol: bytes = b"sSliceArray.lSize = 7",
    creator: str = "SIEMENS CSA HEADER",
) -> pydicom.Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.MRImageStorage, "1.2.3.4"
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = uid.MRImageStorage, "1.2.3.4", "MR"
    made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = "1.2.3.5", "1.2.3.6", "1.2.3.7"
    made.Manufacturer, made.ImageType = "SIEMENS", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    made.SeriesNumber, made.AcquisitionNumber, made.InstanceNumber = 4, 1, 1
    made.Rows, made.Columns = ACROSS * TILE_ROWS, ACROSS * TILE_COLUMNS
    made.ImagePositionPatient = [-101.5, 42.25, 310.125]
    made.ImageOrientationPatient = [f"{x:.10f}" for x in (*ROW, *COLUMN)]
    made.PixelSpacing, made.SliceThickness, made.SpacingBetweenSlices = [0.75, 1.25], 3.0, 3.5
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RepetitionTime, made.EchoTime, made.AcquisitionMatrix = 2000, 30, [TILE_COLUMNS, 0, 0, TILE_ROWS]
    private = made.private_block(0x0029, creator, create=True)
    private.add_new(0x10, "OB", csa(count if stated is None else stated, normal))
    private.add_new(0x20, "OB", b"### ASCCONV BEGIN ###\n" + protocol + b"\n### ASCCONV END ###")
    pixels = np.arange(made.Rows * made.Columns, dtype="<u2").reshape(made.Rows, made.Columns)
    for empty in range(count, ACROSS**2):
        row, column = divmod(empty, ACROSS)
        pixels[row * TILE_ROWS : (row + 1) * TILE_ROWS, column * TILE_COLUMNS :][:, :TILE_COLUMNS] = 0
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    made.save_as(path, enforce_file_format=True)
    return made


def frames_at(path: Path) -> tuple[Frame, ...]:
    found = read_source(FileSource.of(path))
    assert isinstance(found, tuple)
    return found


def world(frame: Frame, column: int, row: int) -> Vector:
    """RAS+ mm of a pixel of a tile, by the definition of the DICOM attributes."""
    assert frame.position is not None
    assert frame.row is not None
    assert frame.column is not None
    assert frame.pixel_spacing is not None
    point = (
        frame.position
        + frame.row * frame.pixel_spacing[1] * column
        + frame.column * frame.pixel_spacing[0] * row
    )
    return np.asarray(point * [-1, -1, 1])


def assert_voxels_lie_where_dcm2niix_puts_them(path: Path, folder: Path) -> None:
    folder.mkdir()
    subprocess.run(
        ["dcm2niix", "-p", "n", "-b", "n", "-f", "volume", "-o", folder, path.parent],
        check=True,
        capture_output=True,
    )
    theirs = nibabel.load(folder / "volume.nii")
    values, to_index = np.asarray(theirs.dataobj), np.linalg.inv(theirs.affine)
    frames, mosaic = frames_at(path), pydicom.dcmread(path).pixel_array
    assert len(frames) == values.shape[2]
    for frame in frames:
        assert frame.tile is not None
        first_row, first_column, rows, columns = frame.tile
        for row in range(0, rows, 3):
            for column in range(columns):
                index = nibabel.affines.apply_affine(to_index, world(frame, column, row))
                nearest = np.rint(index).astype(int)
                apart = nibabel.affines.apply_affine(theirs.affine, nearest) - world(frame, column, row)
                assert np.linalg.norm(apart) < 1e-3
                assert values[tuple(nearest)] == mosaic[first_row + row, first_column + column]


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize("sign", [1, -1])
def test_tiles_lie_where_dcm2niix_puts_them(tmp_path: Path, sign: int) -> None:
    (tmp_path / "in").mkdir()
    write_mosaic(tmp_path / "in" / "a.dcm", normal=sign * NORMAL)
    assert_voxels_lie_where_dcm2niix_puts_them(tmp_path / "in" / "a.dcm", tmp_path / "out")


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
def test_a_real_mosaic_lies_where_dcm2niix_puts_it(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = shutil.copy(real_data / "dicom" / "nine_transfer_syntaxes" / "In" / "3.dcm", tmp_path / "in")
    assert_voxels_lie_where_dcm2niix_puts_them(Path(path), tmp_path / "out")


@pytest.mark.parametrize(
    "unknown",
    [
        {"normal": None},
        {"normal": ROW},
        {"normal": np.zeros(3)},
        {"stated": 10},  # a grid of 4 x 4 does not divide the matrix
        {"stated": "CANARY"},
        {"stated": 0},
        {"creator": "SOMEONE ELSE"},
        {"protocol": b"sSliceArray.ucImageNumbTra = 0x1"},
    ],
    ids=str,
)
def test_a_mosaic_of_unknown_order_has_no_place(tmp_path: Path, unknown: dict[str, object]) -> None:
    write_mosaic(tmp_path / "a.dcm", **unknown)  # type: ignore[arg-type]
    (frame,) = frames_at(tmp_path / "a.dcm")
    assert frame.tile is None
    assert frame.position is None
    assert "MOSAIC" in frame.image_type


def test_a_grid_of_another_manufacturer_has_no_place(tmp_path: Path) -> None:
    made = write_mosaic(tmp_path / "a.dcm", creator="SOMEONE ELSE")
    made.Manufacturer, made.ImageType = "UIH", ["ORIGINAL", "PRIMARY", "M", "ND"]
    made.private_block(0x0065, "Image Private Header", create=True).add_new(0x50, "DS", "7")
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    (frame,) = frames_at(tmp_path / "a.dcm")
    assert frame.position is None
    assert "MOSAIC" in frame.image_type


def test_damaged_private_headers_leave_the_order_unknown(tmp_path: Path) -> None:
    made = write_mosaic(tmp_path / "a.dcm")
    whole = made[0x00291010].value
    rng = np.random.default_rng(3)
    for _ in range(40):
        damaged = bytearray(whole[: rng.integers(4, len(whole))])
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        made[0x00291010].value = bytes(damaged)
        made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        assert len(frames_at(tmp_path / "a.dcm")) in (1, 7)
