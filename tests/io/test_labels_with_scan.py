"""Segmentations read with the scan that they were drawn on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

import medseg
from medseg import Volume
from tests.io.dicom.made_series import RAS, SERIES_UID, SHAPE, write_series

LABELS = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3).astype(np.uint8)


@pytest.fixture
def label_file(tmp_path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(LABELS, RAS), tmp_path / "seg.nii.gz")
    return tmp_path / "seg.nii.gz"


def test_a_label_file_has_to_lie_on_the_scan(
    tmp_path: Path, label_file: Path, oblique: Callable[..., Volume]
) -> None:
    nibabel.save(nibabel.Nifti1Image(LABELS.astype(np.float32), RAS), tmp_path / "scan.nii")
    assert (medseg.read_labels(label_file, scan=tmp_path / "scan.nii").data == LABELS).all()
    moved = RAS.copy()
    moved[0, 3] += 0.02
    nibabel.save(nibabel.Nifti1Image(LABELS, moved), tmp_path / "moved.nii")
    with pytest.raises(medseg.InputRefused, match="mm beside") as refusal:
        medseg.read_labels(label_file, scan=tmp_path / "moved.nii")
    assert refusal.value.code == "grid-differs"


@pytest.mark.parametrize("scan", [False, True])
def test_a_label_file_without_a_possible_grid_is_refused_by_name(
    tmp_path: Path, label_file: Path, scan: bool
) -> None:
    image = nibabel.Nifti1Image(LABELS, None)
    image.header["sform_code"], image.header["srow_x"] = 1, (1, 0, 0, 0)
    nibabel.save(image, tmp_path / "flat.nii")
    content = bytearray((tmp_path / "flat.nii").read_bytes())
    content[254:256], content[280:328] = b"\1\0", bytes(48)
    (tmp_path / "flat.nii").write_bytes(content)
    with pytest.raises(medseg.InputRefused, match="cannot be placed") as refusal:
        medseg.read_labels(tmp_path / "flat.nii", scan=label_file if scan else None)
    assert refusal.value.code == "bad-header"


def test_series_chooses_among_the_series_of_the_scan(tmp_path: Path, label_file: Path) -> None:
    items = write_series(tmp_path / "ct")
    for n, item in enumerate(items):
        item.SeriesInstanceUID, item.SOPInstanceUID = "1.2.3.4", f"1.2.3.4.{n}"
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
        item.ImagePositionPatient[2] += 5
        item.save_as(tmp_path / "ct" / f"other{n}.dcm")
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(label_file, scan=tmp_path / "ct")
    assert refusal.value.code == "several-series"
    found = medseg.read_labels(label_file, scan=tmp_path / "ct", series=SERIES_UID)
    assert (found.data == LABELS).all()
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(label_file, scan=tmp_path / "ct", series="1.2.3.4")
    assert refusal.value.code == "grid-differs"


def test_series_chooses_among_the_volumes_of_the_scan(tmp_path: Path, label_file: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.stack([LABELS] * 3, 3), RAS), tmp_path / "bold.nii")
    assert (medseg.read_labels(label_file, scan=tmp_path / "bold.nii", series=2).data == LABELS).all()
    with pytest.raises(medseg.UsageError):
        medseg.read_labels(label_file, scan=tmp_path / "bold.nii", series=4)


def test_the_pixels_of_a_dicom_scan_do_not_matter(tmp_path: Path, label_file: Path) -> None:
    write_series(tmp_path / "ct")
    for path in (tmp_path / "ct").iterdir():
        item = dcmread(path)
        item.compress(RLELossless, generate_instance_uid=False)
        (stream,) = generate_frames(item.PixelData, number_of_frames=1)
        item.PixelData = encapsulate([stream[:64] + b"\x80" * (len(stream) - 64)])  # a run of nothing
        item.save_as(path)
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(tmp_path / "ct")
    assert refusal.value.code == "truncated"
    assert (medseg.read_labels(label_file, scan=tmp_path / "ct").data == LABELS).all()
