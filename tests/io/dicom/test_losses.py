"""Files that may be slices and cannot be had: the series they may be of is refused, all others are read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
from pydicom.fileset import FileSet

import medseg
from medseg.cli.app import main
from tests.io.dicom import test_rtstruct as structures
from tests.io.dicom.made_series import COLUMN, FIRST, ROWS, SHAPE, SLICES, STEP, texts, write_series

CANARY = "Canary"


def _series(folder: Path, uid: str, **tags: Any) -> list[Path]:
    """The series under a UID of its own; its files in the order of their slices."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, item in enumerate(write_series(folder)):
        item.SeriesInstanceUID = uid
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = f"{uid}.{k + 1}"
        for name, value in tags.items():
            setattr(item, name, value)
        paths.append(folder / f"{uid[-2:]}_{(7 * k) % SLICES}.dcm")
        item.save_as(paths[-1], enforce_file_format=True)
        Path(str(item.filename)).unlink()
    return paths


def _truncated(path: Path, like: Path, size: int = 300) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(like.read_bytes()[:size])
    return path


def _refusal(path: Path, **options: Any) -> medseg.InputRefused:
    with pytest.raises(medseg.InputRefused) as caught:
        medseg.read(path, **options)
    assert CANARY not in str(caught.value)
    return caught.value


def _codes(refusal: medseg.InputRefused) -> list[str]:
    return [code for code, _ in refusal.reasons]


def test_a_broken_file_refuses_the_series_in_its_folder_and_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    _series(study / "a", "1.2.10", SeriesNumber=1)
    paths = _series(study / "b", "1.2.20", SeriesNumber=2)
    _truncated(study / "b" / "trunc.dcm", paths[2])
    assert medseg.read(study, series="1.2.10").geometry.shape == SHAPE
    refusal = _refusal(study, series=2)
    assert refusal.code == "bad-header"
    assert "b/trunc.dcm might be a slice of this series" in str(refusal)
    found = medseg.inspect(study)
    assert [series.verdict.status for series in found.series] == ["ok", "refused"]
    assert [(a.code, a.count) for a in found.set_aside] == [("bad-header", 1)]
    assert main(["inspect", str(study)]) == 3
    assert "1 file with a broken header (b/trunc.dcm)" in " ".join(capfd.readouterr().out.split())
    assert _refusal(paths[0]).code == "bad-header"
    assert medseg.read(study / "a").geometry.shape == SHAPE


def test_a_broken_file_in_a_folder_of_its_own_refuses_nothing(tmp_path: Path) -> None:
    paths = _series(tmp_path / "study", "1.2.10")
    broken = _truncated(tmp_path / "study" / "sub" / "trunc.dcm", paths[0])
    found = medseg.inspect(tmp_path / "study")
    assert found.verdict.status == "ok"
    assert found.set_aside[0].message == "1 file with a broken header (sub/trunc.dcm)"
    assert medseg.read(tmp_path / "study").verdict.status == "ok"
    assert _refusal(broken).code == "bad-header"
    assert _refusal(broken.parent).code == "bad-header"
    assert str(_refusal(broken.parent)).startswith("trunc.dcm: ")


def test_a_series_spread_over_folders_may_have_a_slice_in_any_beside_them(tmp_path: Path) -> None:
    study = tmp_path / "study"
    paths = _series(study, "1.2.10")
    for n, path in enumerate(paths):
        (study / f"{n}").mkdir()
        path.rename(study / f"{n}" / "IM.dcm")
    last = study / f"{SLICES - 1}" / "IM.dcm"
    last.write_bytes(last.read_bytes()[:300])
    refusal = _refusal(study)
    assert refusal.code == "bad-header"
    assert f"{SLICES - 1}/IM.dcm" in str(refusal)


def test_several_broken_files_are_one_reason_that_names_a_few(tmp_path: Path) -> None:
    paths = _series(tmp_path / "scan", "1.2.10")
    for n in range(7):
        _truncated(tmp_path / "scan" / f"x{n}.dcm", paths[0])
    refusal = _refusal(tmp_path / "scan")
    assert _codes(refusal) == ["bad-header"]
    assert "7 files might be slices of this series (x0.dcm, x1.dcm, x2.dcm, x3.dcm, x4.dcm, ...)" in str(
        refusal
    )


def test_a_broken_member_refuses_the_whole_archive(tmp_path: Path) -> None:
    paths = _series(tmp_path / "scan", "1.2.10")
    _truncated(tmp_path / "scan" / "sub" / "trunc.dcm", paths[0])
    archive = Path(shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "scan"))
    refusal = _refusal(archive)
    assert refusal.code == "bad-header"
    assert "archive.zip, member " in str(refusal)
    assert "trunc" not in str(refusal)
    assert len(medseg.inspect(archive).series) == 1


def test_a_folder_that_may_not_be_listed_refuses_the_series_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _series(tmp_path / "study" / "a", "1.2.10", SeriesNumber=1)
    _series(tmp_path / "study" / "b", "1.2.20", SeriesNumber=2)
    locked = tmp_path / "study" / "b" / "locked"
    locked.mkdir()
    scandir = os.scandir

    def deny(place: str | Path = ".") -> Any:  # the suite may run as root, whom rights do not stop
        if str(place) == str(locked):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", deny)
    assert medseg.read(tmp_path / "study", series=1).verdict.status == "ok"
    refusal = _refusal(tmp_path / "study", series=2)
    assert refusal.code == "unreadable"
    assert "b/locked might hold slices of this series: the system does not let it be read" in str(refusal)
    assert "(b/locked)" in medseg.inspect(tmp_path / "study").set_aside[0].message


def test_labels_are_not_drawn_on_a_scan_that_may_lack_a_slice(tmp_path: Path) -> None:
    paths = _series(tmp_path / "scan", "1.2.10")
    _truncated(tmp_path / "scan" / "trunc.dcm", paths[0])
    labels = medseg.LabelMap(
        medseg.read(_series(tmp_path / "sound", "1.2.10")[0].parent).data[0].astype("uint8"),
        medseg.read(tmp_path / "sound").geometry,
        medseg.LabelSet.from_ids(range(1, SLICES)),
    )
    written = medseg.io.write(labels, tmp_path / "labels.nii.gz")
    assert medseg.read_labels(written, scan=tmp_path / "sound").geometry.shape == SHAPE
    with pytest.raises(medseg.InputRefused) as caught:
        medseg.read_labels(written, scan=tmp_path / "scan")
    assert caught.value.code == "bad-header"


@pytest.fixture
def disc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A medium with two series of one study, and its DICOMDIR, as pydicom makes it."""
    (tmp_path / "staging").mkdir()
    # pydicom leaves its own staging folders to the garbage collector, which warns.
    staging = SimpleNamespace(name=str(tmp_path / "staging"), cleanup=lambda: None)
    monkeypatch.setattr("pydicom.fileset.TemporaryDirectory", lambda *_, **__: staging)
    files = FileSet()
    for uid, number in (("1.2.10", 1), ("1.2.20", 2)):
        for path in _series(tmp_path / "scan", uid, SeriesNumber=number):
            item = pydicom.dcmread(path)
            item.StudyDate, item.StudyTime, item.StudyID = "20200101", "1200", "1"
            files.add(item)
    files.write(tmp_path / "disc")
    return tmp_path / "disc"


def _files_of(disc: Path, uid: str) -> list[Path]:
    """The files of a series on the medium, in the order of their slices."""
    read = {
        path: pydicom.dcmread(path) for path in disc.rglob("*") if path.is_file() and path.name != "DICOMDIR"
    }
    own = [path for path, item in read.items() if item.SeriesInstanceUID == uid]
    return sorted(own, key=lambda path: int(str(read[path].SOPInstanceUID).rpartition(".")[2]))


@pytest.mark.parametrize("by_directory", [True, False])
def test_slices_lost_in_a_regular_pattern_are_missed_by_the_directory(disc: Path, by_directory: bool) -> None:
    gone = _files_of(disc, "1.2.20")[1::2]
    for path in gone:
        path.unlink()
    path = disc / "DICOMDIR" if by_directory else disc
    assert medseg.read(path, series="1.2.10").verdict.status == "ok"
    refusal = _refusal(path, series="1.2.20")
    assert _codes(refusal) == ["missing-files"]
    assert (
        f"{len(gone)} files that should be there are missing ({gone[0].relative_to(disc).as_posix()}"
        in str(refusal)
    )
    found = medseg.read(path, series="1.2.20", allow=["missing-slices"])
    assert found.verdict.status == "warning"
    assert found.verdict.codes == ("missing-files",)
    assert _codes(_refusal(path)) == ["several-series", "missing-files"]
    assert medseg.inspect(path).verdict.codes == ("several-series", "missing-files")


def test_missing_files_are_told_with_the_gap_that_they_leave(disc: Path) -> None:
    _, second, *_ = _files_of(disc, "1.2.20")
    second.unlink()
    assert _codes(_refusal(disc, series=2)) == ["missing-slices", "missing-files"]
    found = medseg.read(disc, series=2, allow=["missing-slices"])
    assert set(found.verdict.codes) == {"missing-slices", "missing-files"}


def test_a_directory_that_does_not_know_the_series_holds_missing_files_against_it(disc: Path) -> None:
    *_, last = _files_of(disc, "1.2.20")
    last.unlink()
    for uid, new in (("1.2.10", "1.2.30"), ("1.2.20", "1.2.40")):
        for path in _files_of(disc, uid):
            item = pydicom.dcmread(path)
            item.SeriesInstanceUID = new
            item.save_as(path)
    for series in (1, 2):
        assert _codes(_refusal(disc, series=series)) == ["missing-files"]


def test_a_directory_whose_links_lead_nowhere_holds_missing_files_against_all(disc: Path) -> None:
    _files_of(disc, "1.2.20")[-1].unlink()
    made = pydicom.dcmread(disc / "DICOMDIR")
    for record in made.DirectoryRecordSequence:
        record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 7
    made.save_as(disc / "DICOMDIR")
    for series in (1, 2):
        assert _codes(_refusal(disc, series=series)) == ["missing-files"]


def test_a_medium_without_any_of_its_files_is_refused_for_that(disc: Path) -> None:
    for uid in ("1.2.10", "1.2.20"):
        for path in _files_of(disc, uid):
            path.unlink()
    assert _refusal(disc).code == "missing-files"
    assert f"{2 * SLICES} files" in str(_refusal(disc / "DICOMDIR"))


def test_a_link_that_leads_nowhere_may_have_been_a_slice(tmp_path: Path) -> None:
    folder = _series(tmp_path / "scan", "1.2.10")[0].parent
    try:
        (folder / "gone.dcm").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("this system does not let links be made")
    refusal = _refusal(folder)
    assert refusal.code == "missing-files"
    assert "1 file that should be there is missing (gone.dcm)" in str(refusal)
    assert medseg.read(folder, allow=["missing-slices"]).verdict.codes == ("missing-files",)


Make = Callable[[Path], None]


def _write(*names: str) -> Make:
    def write(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"\x5c\x01\0\0" + bytes(344) + b"voxels")

    return write


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            _write("sub/ct.nii.gz", "sub/mr.nrrd", "note.txt"),
            "2 files of other formats, as sub/ct.nii.gz: give one",
        ),
        (_write("ct.mha"), "1 file of another format, as ct.mha: give that one"),
        (_write("notes.txt"), "no file of a known format in it"),
        (_write(), "no file of a known format in it"),
    ],
)
def test_a_folder_without_a_dicom_scan_says_what_is_there(tmp_path: Path, make: Make, expected: str) -> None:
    make(tmp_path)
    refusal = _refusal(tmp_path)
    assert refusal.code == "no-scan"
    assert expected in str(refusal)
    assert "*" not in str(refusal)


def test_an_archive_of_other_scans_has_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _write("Doe_Jane.nii.gz", "b.nii.gz")(tmp_path / "in")
    refusal = _refusal(Path(shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path / "in")))
    assert refusal.code == "no-scan"
    assert "2 files of other formats: unpack it first" in str(refusal)
    assert "Doe" not in str(refusal)


def test_copies_and_repeats_are_named_as_a_pair(tmp_path: Path) -> None:
    paths = _series(tmp_path / "scan", "1.2.10")
    (tmp_path / "scan" / "sub").mkdir()
    copy = tmp_path / "scan" / "sub" / "copy.dcm"
    shutil.copy(paths[3], copy)
    refusal = _refusal(tmp_path / "scan")
    assert refusal.code == "duplicate-slices"
    assert f"{paths[3].name} and sub/copy.dcm" in str(refusal)
    item = pydicom.dcmread(copy)
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = "1.2.99"
    item.save_as(copy)
    refusal = _refusal(tmp_path / "scan")
    assert refusal.code == "repeated-positions"
    assert f"{paths[3].name} and sub/copy.dcm" in str(refusal)
    assert "remove what is too much" in str(refusal)


@pytest.mark.parametrize("allowed", ["tilt", "shear"])
def test_a_tilt_that_is_allowed_is_no_reason_against_uneven_slices(tmp_path: Path, allowed: str) -> None:
    for k, path in enumerate(_series(tmp_path / "scan", "1.2.10")):
        item = pydicom.dcmread(path)
        item.ImagePositionPatient = texts(FIRST + (k + 0.3 * (k == 2)) * (STEP + 0.4 * COLUMN))
        item.save_as(path)
    assert _codes(_refusal(tmp_path / "scan")) == ["uneven-spacing", "tilt"]
    assert _codes(_refusal(tmp_path / "scan", allow=[allowed])) == ["uneven-spacing"]


def test_inverted_grey_values_are_kept_and_told(tmp_path: Path) -> None:
    folder = _series(tmp_path / "scan", "1.2.10", PhotometricInterpretation="MONOCHROME1")[0].parent
    found = medseg.read(folder)
    assert found.verdict.codes == ("white-is-zero",)
    assert found.data[0, 0, ROWS - 1].tolist() == list(range(SLICES))


def test_a_structure_set_is_not_put_on_a_scan_that_may_lack_a_slice(tmp_path: Path) -> None:
    write_series(tmp_path)
    square = structures.contour([(2, 2), (8, 2), (8, 6), (2, 6)], 2)
    drawn = structures.write(tmp_path / "drawn.dcm", [structures.roi(1, "Liver", [square])])
    assert medseg.read_labels(drawn).geometry.shape == SHAPE
    _truncated(tmp_path / "trunc.dcm", tmp_path / "0.dcm")
    for path in (drawn, tmp_path):
        with pytest.raises(medseg.InputRefused, match=r"trunc\.dcm might be") as caught:
            medseg.read_labels(path)
        assert caught.value.code == "bad-header"
