"""medseg.inspect of DICOM: what is listed, what is set aside, and what it costs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

import medseg
from medseg.cli.app import main

ROWS, COLUMNS = 6, 4
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write one slice of a CT, under a name that says nothing."""
    count = 0

    def slice_at(z: float = 0.0, uid: str = "1.2.3", folder: str = "scan", **tags: Any) -> Path:
        nonlocal count
        count += 1
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = tags.pop("SOPClassUID", CTImageStorage)
        meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
        item = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        item.SOPClassUID, item.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        item.SeriesInstanceUID, item.Modality, item.ImageType = uid, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        item.Rows, item.Columns, item.SamplesPerPixel = ROWS, COLUMNS, 1
        item.PhotometricInterpretation = "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
        item.ImagePositionPatient, item.ImageOrientationPatient = [3, 4, z], [1, 0, 0, 0, 1, 0]
        item.PixelSpacing = [1.5, 0.5]
        item.PixelData = np.full((ROWS, COLUMNS), count, np.int16).tobytes()
        for name, value in tags.items():
            setattr(item, name, value)
        path = tmp_path / folder / f"{count * 37 % 101:03d}"
        path.parent.mkdir(exist_ok=True)
        item.save_as(path, enforce_file_format=True)
        return path

    return slice_at


def _out(capfd: pytest.CaptureFixture[str]) -> str:
    return " ".join(capfd.readouterr().out.split())


def test_a_clean_series_is_one_line_without_reasons(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    for n in range(5):
        folder = write(2.0 * n).parent
    (found,) = medseg.inspect(folder).series
    assert found.summary == "CT, 5 x 4x6, axial"
    assert found.pixels_decoded
    assert main(["inspect", str(folder)]) == 0
    out = _out(capfd)
    assert "1 CT, 5 x 4x6, axial 4 x 6 x 5 0.5 x 1.5 x 2 ok 1.2.3" in out
    assert "set aside" not in out


def test_the_table_says_what_tells_series_apart_and_how_to_choose(
    write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    for echo in (4.9, 9.8):
        for n in range(4):
            folder = write(2.0 * n, EchoTime=echo, Modality="MR").parent
    assert main(["inspect", str(folder)]) == 3
    out = _out(capfd)
    assert "several-series: 2 series, expected one. Choose with --series N or its UID" in out
    assert "1 MR, 4 x 4x6, axial, echo time 4.9 ms" in out
    assert "2 MR, 4 x 4x6, axial, echo time 9.8 ms" in out
    assert "choose one of them with --series N" in out
    assert medseg.read(folder, series="1.2.3#2").data.shape == (1, 4, 6, 4)


def test_reasons_of_several_series_are_told_once(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    for uid in ("1.2.3", "1.2.4", "1.2.5", "1.2.7"):
        folder = write(uid=uid).parent
    assert main(["inspect", str(folder)]) == 3
    assert _out(capfd).count("1-4 one-slice: ") == 1


def test_what_is_set_aside_is_counted_by_name(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    nowhere: dict[str, Any] = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    for n in range(4):
        folder = write(2.0 * n).parent
    write(uid="1.2.8", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write(uid="1.2.9", SamplesPerPixel=3, PhotometricInterpretation="RGB", **nowhere)
    write(uid="1.2.10", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", **nowhere)
    write(uid="1.2.11", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", Modality="SR")
    write(uid="1.2.12", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", Modality="SR")
    (folder / "README").write_text("about these scans")
    found = medseg.inspect(folder)
    assert found.verdict.status == "ok"
    assert [(a.code, a.count) for a in found.set_aside] == [
        ("localizer", 1), ("colour-page", 1), ("secondary-capture", 1), ("dose-report", 2), ("not-dicom", 1),
    ]  # fmt: skip
    assert found.to_json()["set_aside"][0] == {
        "code": "localizer", "count": 1, "message": "1 localizer (scout), series 1.2.8",
    }  # fmt: skip
    assert main(["inspect", str(folder)]) == 0
    assert "set aside: 1 localizer (scout), series 1.2.8; 1 colour page" in _out(capfd)
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(folder, series="1.2.8")
    assert refusal.value.code == "localizer"


def test_what_would_be_set_aside_is_listed_where_it_is_all_there_is(write: Write) -> None:
    path = write(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    found = medseg.inspect(path.parent)
    assert found.verdict.codes == ("localizer",)
    assert len(found.series) == 1
    assert found.set_aside == ()


def test_pixels_are_decoded_only_on_request_where_there_are_many(
    write: Write, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        path = write(2.0 * n)
    item = pydicom.dcmread(path)
    item.compress(RLELossless)
    # Its lengths are right, so that only decoding finds that the bytes are not.
    start = item.PixelData.index(b"\xfe\xff\x00\xe0", 8) + 8 + 64
    damaged = bytearray(item.PixelData)
    damaged[start : start + 2] = b"\x80\x80"
    item.PixelData = bytes(damaged)
    item.save_as(path)
    assert medseg.inspect(path.parent).verdict.codes in (("undecodable",), ("truncated",))
    assert medseg.inspect(path.parent, pixels=False).verdict.status == "ok"
    monkeypatch.setattr("medseg.io.inspection._DECODED_BYTES", 100)
    unread = medseg.inspect(path.parent)
    assert not unread.series[0].pixels_decoded
    assert unread.series[0].geometry == medseg.inspect(path.parent, pixels=False).series[0].geometry
    assert main(["inspect", str(path.parent)]) == 0
    assert "--pixels decodes them too" in _out(capfd)
    assert main(["inspect", str(path.parent), "--pixels"]) == 3


def test_a_survey_without_pixels_has_the_grid_that_reading_gives(write: Write) -> None:
    for z in (0, 2, 4, 8):
        folder = write(z).parent
    survey = medseg.inspect(folder, allow=["missing-slices"], pixels=False).series[0]
    volume = medseg.read(folder, allow=["missing-slices"])
    assert survey.geometry == volume.geometry
    assert survey.verdict == volume.verdict


def test_one_file_of_a_series_in_time_means_its_volume(write: Write) -> None:
    paths = {(t, n): write(2.0 * n, TemporalPositionIdentifier=t) for t in (1, 2, 3) for n in range(4)}
    (found,) = medseg.inspect(paths[2, 1]).series
    assert found.id == "1.2.3#2"
    volume = medseg.read(paths[2, 1])
    assert set(volume.source.paths) == {paths[2, n] for n in range(4)}
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(paths[2, 1].parent)
    assert refusal.value.code == "four-dimensional"


@pytest.mark.parametrize(
    ("tag", "word"), [("PatientID", "patient 2 of 2"), ("StudyInstanceUID", "study 2 of 2")]
)
def test_scans_of_two_patients_under_one_empty_uid_are_not_mixed(write: Write, tag: str, word: str) -> None:
    for n in range(8):
        folder = write(2.0 * n, uid="", **{tag: "1.77" if n < 4 else "1.78"}).parent
    found = medseg.inspect(folder)
    assert found.verdict.codes == ("several-series",)
    assert [s.geometry.shape[2] for s in found.series if s.geometry is not None] == [4, 4]
    assert word in found.series[1].summary
    assert "1.7" not in str(found.to_json())


def test_a_file_that_is_no_scan_says_what_it_is(write: Write) -> None:
    path = write(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT")
    verdict = medseg.inspect(path).verdict
    assert verdict.codes[0] == "structure-set"
    assert "medseg.read_labels" in verdict.reasons[0].message
    report = write(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", Modality="SR", folder="report")
    verdict = medseg.inspect(report).verdict
    assert verdict.codes == ("not-an-image",)
    assert "dose report" in verdict.reasons[0].message


def test_lossy_pixels_and_allowed_missing_files_are_warnings(write: Write) -> None:
    for n in range(3):
        folder = write(2.0 * n, LossyImageCompression="01").parent
    assert medseg.inspect(folder).verdict.codes == ("lossy",)
    (folder / "gone.dcm").symlink_to(folder / "nowhere")
    allow = ["missing-slices"]
    assert set(medseg.inspect(folder, allow=allow).verdict.codes) == {"lossy", "missing-files"}
    found = medseg.read(folder, allow=allow)
    assert found.verdict.status == "warning"
    assert set(found.verdict.codes) == {"lossy", "missing-files"}


def test_a_zip_and_a_directory_of_media_are_read_as_the_folder_is(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pydicom leaves its own staging folders to the garbage collector, which warns.
    (tmp_path / "staging").mkdir()
    staging = SimpleNamespace(name=str(tmp_path / "staging"), cleanup=lambda: None)
    monkeypatch.setattr("pydicom.fileset.TemporaryDirectory", lambda *_, **__: staging)
    for n in (3, 0, 2, 1):
        folder = write(
            2.0 * n, PatientID="1", StudyInstanceUID="1.9", InstanceNumber=n, SeriesNumber=1
        ).parent
    expected = medseg.read(folder)
    archive = Path(shutil.make_archive(str(tmp_path / "scans"), "zip", folder))
    disc = FileSet()
    for path in sorted(folder.iterdir()):
        item = pydicom.dcmread(path)
        item.PatientName, item.StudyDate, item.StudyTime, item.StudyID = "A^B", "20200101", "1200", "1"
        disc.add(item)
    disc.write(tmp_path / "disc")
    for path in (archive, tmp_path / "disc" / "DICOMDIR", tmp_path / "disc"):
        found = medseg.read(path)
        assert found.verdict.status == "ok"
        assert np.array_equal(found.data, expected.data)
        assert found.geometry == expected.geometry
    next(p for p in (tmp_path / "disc").rglob("*") if p.is_file() and p.name != "DICOMDIR").unlink()
    verdict = medseg.inspect(tmp_path / "disc" / "DICOMDIR").verdict
    assert verdict.codes[-1] in ("missing-files", "missing-slices")
