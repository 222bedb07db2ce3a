"""Every DICOM object at a path: folders, archives, directories, and what is set aside or refused."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.fileset import FileSet

from medseg.errors import InputRefused, NotFound
from medseg.io.dicom.files import read_object, scan
from medseg.io.dicom.objects import Found

CANARY = "CANARY^NAME"
Slices = Callable[..., list[Path]]


def write_slice(path: Path, number: int, **values: object) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = uid.CTImageStorage, f"1.2.3.{number}", "CT"
    made.PatientName, made.PatientID, made.StudyInstanceUID = CANARY, CANARY, "1.2.4"
    made.StudyDate, made.StudyTime, made.StudyID, made.SeriesNumber = "20200101", "101010", "1", 3
    made.SeriesInstanceUID, made.InstanceNumber = "1.2.5", number
    made.Rows, made.Columns, made.BitsAllocated, made.BitsStored = 2, 3, 16, 12
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 11, 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 2.5 * number], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing = [0.75, 1.25]
    made.PixelData = bytes(12)
    for keyword, value in values.items():
        setattr(made, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with three slices in a tree, and much else."""
    folder = tmp_path / "study"
    write_slice(folder / "a" / "IM1.dcm", 1)
    write_slice(folder / "a" / "b" / "noextension", 2)
    write_slice(folder / "IM3.ima", 3)
    write_slice(folder / "rtss", 4, SOPClassUID=uid.RTStructureSetStorage)
    write_slice(folder / ".hidden.dcm", 5)
    (folder / "notes.txt").write_text("no scan " * 40)
    (folder / "empty").touch()
    (folder / "short").write_bytes(b"DICM")
    return folder


@pytest.fixture
def medium(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The DICOMDIR of a medium with the three slices, as pydicom makes it."""
    # pydicom leaves its own staging folders to the garbage collector, which warns.
    staging = SimpleNamespace(name=str(tmp_path / "staging"), cleanup=lambda: None)
    monkeypatch.setattr("pydicom.fileset.TemporaryDirectory", lambda *_, **__: staging)
    (tmp_path / "staging").mkdir()
    files = FileSet()
    for path in (study / "a" / "IM1.dcm", study / "a" / "b" / "noextension", study / "IM3.ima"):
        files.add(path)
    files.write(tmp_path / "medium")
    return tmp_path / "medium" / "DICOMDIR"


def numbers(found: Found) -> list[float]:
    return sorted(dict(frame.moment)["InstanceNumber"] for frame in found.frames)


def missing(found: Found) -> list[str]:
    return [item.name for item in found.lost if item.code == "missing-files"]


def codes(found: Found) -> Counter[str]:
    return Counter(item.code for item in found.set_aside)


def test_a_tree_is_searched_and_what_is_no_scan_is_set_aside(study: Path) -> None:
    found = scan(study)
    assert numbers(found) == [1, 2, 3]
    assert codes(found) == {"structure-set": 1, "not-dicom": 2, "empty": 1}
    assert [frame.image.source.name for frame in found.frames] == ["IM3.ima", "IM1.dcm", "noextension"]


def test_one_file_means_the_files_beside_it(study: Path) -> None:
    write_slice(study / "a" / "IM6.dcm", 6)
    assert numbers(scan(study / "a" / "IM1.dcm")) == [1, 6]


def test_nothing_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        scan(tmp_path / "absent")


@pytest.mark.parametrize("cut", [140, 300, 600])
def test_a_file_named_or_marked_like_dicom_that_cannot_be_read_is_lost(study: Path, cut: int) -> None:
    broken = study / "a" / "IM1.dcm"
    broken.write_bytes(broken.read_bytes()[:cut])
    found = scan(study)
    assert numbers(found) == [2, 3]
    (lost,) = found.lost
    assert (lost.code, lost.name, lost.path) == ("bad-header", "a/IM1.dcm", broken)
    assert "CANARY" not in lost.message
    with pytest.raises(InputRefused, match=r"IM1\.dcm") as caught:
        scan(broken)
    assert caught.value.code == "bad-header"
    assert "CANARY" not in str(caught.value)


def test_an_unmarked_file_that_cannot_be_read_is_set_aside_as_such(study: Path) -> None:
    whole = (study / "a" / "IM1.dcm").read_bytes()
    (study / "stripped").write_bytes(whole[132:])
    (study / "stripped_and_cut").write_bytes(whole[132:400])
    found = scan(study)
    assert numbers(found) == [1, 1, 2, 3]
    assert codes(found)["unreadable"] == 1


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links and pipes")
def test_links_are_followed_to_files_only(study: Path, tmp_path: Path) -> None:
    outside = write_slice(tmp_path / "annex" / "x.dcm", 7)
    (study / "link.dcm").symlink_to(outside)
    (study / "loop").symlink_to(study)
    (study / "gone.dcm").symlink_to(tmp_path / "nowhere")
    os.mkfifo(study / "pipe.dcm")
    found = scan(study)
    assert numbers(found) == [1, 2, 3, 7]
    assert missing(found) == ["gone.dcm"]


def test_an_archive_holds_what_its_folder_holds(study: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", study))
    with zipfile.ZipFile(archive, "a") as file:
        file.write(archive, "inner.zip")
    before = sorted(tmp_path.rglob("*"))
    found, folder = scan(archive), scan(study)
    assert numbers(found) == numbers(folder)
    assert codes(found) == codes(folder) + Counter({"not-dicom": 1})
    assert sorted(tmp_path.rglob("*")) == before
    for frame in found.frames:
        image = frame.image
        assert image.pixels_at is not None
        assert image.source.read(image.pixels_at, 12) == bytes(12)


def test_a_directory_names_its_files_and_those_that_are_missing(medium: Path) -> None:
    stray = write_slice(medium.parent / "STRAY", 9)
    assert numbers(scan(medium)) == [1, 2, 3]
    listed = sorted(
        path for path in medium.parent.rglob("*") if path.is_file() and path not in (medium, stray)
    )
    gone = listed[0]
    gone.unlink()
    name = gone.relative_to(medium.parent).as_posix()
    assert missing(scan(medium)) == [name]
    assert missing(scan(medium.parent)) == [name]
    assert len(scan(medium).frames) == 2
    assert codes(scan(medium.parent)) == {"directory": 1}
    assert len(scan(medium.parent).frames) == 3


def test_names_in_a_directory_are_found_whatever_their_case(medium: Path) -> None:
    for path in sorted(medium.parent.rglob("*"), reverse=True):
        if path != medium:
            path.rename(path.with_name(path.name.lower()))
    assert numbers(scan(medium)) == [1, 2, 3]
    assert scan(medium).lost == ()


@pytest.mark.parametrize("name", [["..", "OUT"], ["/etc", "hostname"], ["A", "..", "..", "OUT"], ["C:", "X"]])
def test_a_directory_never_leads_outside_its_root(medium: Path, tmp_path: Path, name: list[str]) -> None:
    write_slice(tmp_path / "OUT", 9)
    rewrite_first_name(medium, name)
    with pytest.raises(InputRefused, match="outside") as caught:
        scan(medium)
    assert caught.value.code == "outside-root"


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
@pytest.mark.parametrize("target", ["folder", "file"])
def test_links_in_a_medium_never_lead_outside_its_root(medium: Path, tmp_path: Path, target: str) -> None:
    outside = write_slice(tmp_path / "elsewhere" / "OUT", 9)
    (medium.parent / "LINK").symlink_to(outside.parent if target == "folder" else outside)
    rewrite_first_name(medium, ["LINK", "OUT"] if target == "folder" else ["LINK"])
    with pytest.raises(InputRefused) as caught:
        scan(medium)
    assert caught.value.code == "outside-root"


def test_a_missing_name_that_no_medium_has_is_not_repeated(medium: Path) -> None:
    rewrite_first_name(medium, [CANARY])
    (name,) = missing(scan(medium))
    assert name.startswith("record ")


def test_records_that_are_not_in_use_are_passed_over(medium: Path) -> None:
    made = pydicom.dcmread(medium)
    images = [record for record in made.DirectoryRecordSequence if "ReferencedFileID" in record]
    images[0].RecordInUseFlag = 0
    made.save_as(medium)
    assert len(scan(medium).frames) == 2


def rewrite_first_name(medium: Path, name: list[str]) -> None:
    with pydicom.config.disable_value_validation():
        made = pydicom.dcmread(medium)
        records = [record for record in made.DirectoryRecordSequence if "ReferencedFileID" in record]
        records[0].add_new("ReferencedFileID", "LO", name)
        made.save_as(medium)


def test_what_the_system_does_not_give_is_lost_or_refused_by_name(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", deny)
    lost = scan(study).lost
    assert {item.code for item in lost} == {"unreadable"}
    assert "a/b/noextension" in [item.name for item in lost]
    assert "Permission denied" in lost[0].message
    with pytest.raises(InputRefused, match=r"IM1\.dcm: .*Permission denied") as caught:
        scan(study / "a" / "IM1.dcm")
    assert caught.value.code == "unreadable"


def test_progress_counts_all_files_and_may_cancel(study: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    scan(study, lambda *call: calls.append(call))
    assert calls[-1] == ("headers", 7, 7)

    def cancel(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(study, cancel)


def test_one_object_is_read_or_refused(study: Path) -> None:
    assert read_object(study / "rtss").pixels_length == 12
    with pytest.raises(InputRefused, match="mark of a DICOM file is missing"):
        read_object(study / "notes.txt")


def test_an_object_that_names_its_class_twice_is_refused(study: Path) -> None:
    path = study / "a" / "IM1.dcm"
    content = path.read_bytes()
    at = content.index(b"\x02\0\x02\0UI")
    end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    path.write_bytes(content[:end] + content[at:end] + content[end:])
    with pytest.raises(InputRefused, match="stands there twice") as refusal:
        scan(path)
    assert refusal.value.code == "bad-header"
