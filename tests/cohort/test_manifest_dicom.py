"""read_manifest of DICOM trees: which series are cases, under which pseudonyms; what is left out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.misc import is_dicom
from typer.testing import CliRunner

import medseg
from medseg.cli.app import app
from medseg.cohort import Manifest, read_manifest, write_manifest
from medseg.errors import UsageError
from tests.io.dicom.made_series import SHAPE, SLICES, write_series

CANARY = re.compile("Canary", re.IGNORECASE)


def _series(folder: Path, uid: str | None, change: Callable[[FileDataset], None] = lambda _: None) -> Path:
    """An oblique CT series of its own UID, its images changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, item in enumerate(write_series(folder)):
        item.SeriesInstanceUID = uid or ""
        item.SOPInstanceUID = f"{uid or '1.9'}.{n + 1}"
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
        change(item)
        item.save_as(item.filename, enforce_file_format=True)
    return folder


def _type(*words: str) -> Callable[[FileDataset], None]:
    def change(item: FileDataset) -> None:
        item.ImageType = list(words)

    return change


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two patients' series under folders of their names; a localiser, a reformat, a text file beside them."""
    root = tmp_path / "archive"
    _series(root / "Canary_Ann" / "2020-01-02" / "head", "1.2.1")
    _series(root / "Canary_Bob" / "head", "1.2.2")
    _series(root / "Canary_Ann" / "2020-01-02" / "scout", "1.2.3", _type("ORIGINAL", "PRIMARY", "LOCALIZER"))
    _series(root / "Canary_Ann" / "2020-01-02" / "mpr", "1.2.4", _type("DERIVED", "SECONDARY", "MPR"))
    (root / "Canary_Ann" / "notes.txt").write_text("Canary")
    return root


def _by_series(found: Manifest) -> dict[str | None, Path]:
    return {case.series: case.images[0][1] for case in found.cases}


def test_each_series_that_is_a_scan_is_a_case_with_its_folder(tree: Path) -> None:
    found = read_manifest(tree)
    assert _by_series(found) == {
        "1.2.1": tree / "Canary_Ann" / "2020-01-02" / "head",
        "1.2.2": tree / "Canary_Bob" / "head",
    }
    assert dict(found.cases[0].columns) == {
        "modality": "CT",
        "slices": float(SLICES),
        "content": f"CT, {SLICES} x 12x9, oblique axial",
    }
    told = {reason.code: reason.message for reason in found.verdict.reasons}
    assert set(told) == {"left-out"}
    assert f"{SLICES} localizers (scouts)" in told["left-out"]
    assert "1 series derived from one of their study" in told["left-out"]


def test_ids_are_pseudonyms_that_do_not_depend_on_where_the_files_lie(tree: Path, tmp_path: Path) -> None:
    found = read_manifest(tree)
    for case in found.cases:
        assert re.fullmatch("case-[0-9a-f]{10}", case.case_id)
    written = write_manifest(found, tmp_path / "cases.csv").read_text()
    assert not CANARY.search("\n".join(line.split(",", 2)[0] for line in written.splitlines()))
    assert not CANARY.search(
        str([(c.case_id, c.columns, c.series) for c in found.cases]) + str(found.verdict)
    )
    tree.rename(tmp_path / "elsewhere")
    moved = read_manifest(tmp_path / "elsewhere")
    assert {(c.case_id, c.series) for c in moved.cases} == {(c.case_id, c.series) for c in found.cases}


def test_what_is_listed_is_what_read_takes(tree: Path, tmp_path: Path) -> None:
    _series(tree / "Canary_Bob" / "head", "1.2.5")  # overwrites: same names of files
    found = read_manifest(write_manifest(read_manifest(tree), tmp_path / "cases.csv"))
    for case in found.cases:
        volume = medseg.read(case.images[0][1], series=case.series)
        assert volume.data.shape[1:] == SHAPE
        assert volume.source.header["dicom"]["SeriesInstanceUID"] == case.series


def test_a_derived_series_is_a_case_where_its_study_has_no_other(tmp_path: Path) -> None:
    _series(tmp_path / "a", "1.2.4", _type("DERIVED", "SECONDARY", "MPR"))
    assert list(_by_series(read_manifest(tmp_path))) == ["1.2.4"]


def test_a_copy_of_a_series_is_counted_once(tree: Path) -> None:
    shutil.copytree(tree / "Canary_Bob", tree / "Canary_Zoe")
    found = read_manifest(tree)
    assert _by_series(found)["1.2.2"] == tree / "Canary_Bob" / "head"
    assert f"{SLICES} copies of images" in found.verdict.reasons[0].message


def test_a_folder_with_a_part_of_a_series_does_not_stand_for_it(tree: Path) -> None:
    part = tree / "Canary_Abe" / "head"  # before Bob's
    part.mkdir(parents=True)
    for path in sorted((tree / "Canary_Bob" / "head").iterdir())[:2]:
        shutil.copy(path, part)
    assert _by_series(read_manifest(tree))["1.2.2"] == tree / "Canary_Bob" / "head"


def test_a_series_in_several_folders_is_read_from_their_common_one(tmp_path: Path) -> None:
    folder = _series(tmp_path / "root" / "a", "1.2.1")
    (tmp_path / "root" / "b").mkdir()
    for path in sorted(folder.iterdir())[::2]:
        path.rename(tmp_path / "root" / "b" / path.name)
    (case,) = read_manifest(tmp_path).cases
    assert case.images[0][1] == tmp_path / "root"
    assert medseg.read(case.images[0][1], series=case.series).data.shape[1:] == SHAPE


def test_volumes_in_time_are_left_out_and_counted(tmp_path: Path) -> None:
    _series(tmp_path / "one", "1.2.1")
    for moment in (1, 2):

        def at(item: FileDataset, moment: int = moment) -> None:
            item.SOPInstanceUID = f"{item.SOPInstanceUID}.{moment}"
            item.TemporalPositionIdentifier = moment

        _series(tmp_path / f"t{moment}", "1.2.2", at)
    found = read_manifest(tmp_path)
    assert list(_by_series(found)) == ["1.2.1"]
    assert "1 series of several volumes in time" in found.verdict.reasons[0].message


@pytest.mark.parametrize("emptied", [("SeriesInstanceUID",), ("SeriesInstanceUID", "SOPInstanceUID")])
def test_series_without_uids_have_stable_ids_by_folder(tmp_path: Path, emptied: tuple[str, ...]) -> None:
    for n, name in enumerate("ab"):

        def empty(item: FileDataset, n: int = n) -> None:
            item.SOPInstanceUID = f"{item.SOPInstanceUID}.{n}"
            item.PixelData = np.full(item.Rows * item.Columns, 10 * n, np.uint16).tobytes()
            for tag in emptied:
                setattr(item, tag, "")

        _series(tmp_path / "root" / name, None, empty)
    found = read_manifest(tmp_path / "root")
    assert [case.images[0][1].name for case in found.cases] == ["a", "b"]
    assert len({case.case_id for case in found.cases}) == 2
    for case in found.cases:
        assert medseg.read(case.images[0][1], series=case.series).data.shape[1:] == SHAPE
    (tmp_path / "root").rename(tmp_path / "moved")
    assert [c.case_id for c in read_manifest(tmp_path / "moved").cases] == [c.case_id for c in found.cases]


def test_broken_files_are_counted_and_modalities_told_apart(tree: Path) -> None:
    def magnetic(item: FileDataset) -> None:
        item.Modality = "MR"

    _series(tree / "c", "1.2.6", magnetic)
    (tree / "c" / "Canary.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken")
    found = read_manifest(tree)
    told = {reason.code: reason.message for reason in found.verdict.reasons}
    assert told["unreadable-files"].startswith("1 DICOM file")
    assert told["mixed-modalities"].endswith("CT (2), MR (1)")
    assert not CANARY.search(str(told))


def test_a_tree_without_scans_is_refused(tmp_path: Path) -> None:
    _series(tmp_path / "scout", "1.2.3", _type("ORIGINAL", "PRIMARY", "LOCALIZER"))
    with pytest.raises(UsageError, match=r"no cases.*localizers"):
        read_manifest(tmp_path)


def test_progress_counts_headers_and_may_cancel(tree: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    read_manifest(tree, progress=lambda *stage: seen.append(stage))
    files = sum(path.is_file() for path in tree.rglob("*"))
    assert seen[-1] == ("headers", files, files)

    def cancel(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_manifest(tree, progress=cancel)


def test_the_command_writes_the_table_and_says_what_it_left_out(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases.csv"
    done = CliRunner().invoke(app, ["cohort", "manifest", str(tree), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert read_manifest(out).cases == read_manifest(tree).cases
    assert "2 cases" in done.stdout
    assert "localizers" in done.stdout


def test_cases_of_real_studies_are_what_pydicom_finds(real_data: Path) -> None:
    folder = real_data / "dicom" / "enhanced_mr"
    files = [path for path in folder.rglob("*") if path.is_file() and is_dicom(path)]
    uids = {str(pydicom.dcmread(path).SeriesInstanceUID) for path in files}
    cases = [case for part in ("001", "001_implicit") for case in read_manifest(folder / part).cases]
    assert {case.series for case in cases} == uids
    with pytest.raises(UsageError, match=r"images .* and also DICOM"):
        read_manifest(folder)  # the same scans lie there as NIfTI too
    (clean,) = read_manifest(real_data / "dicom" / "ct_clean_j2k").cases  # its UIDs have been removed
    assert clean.columns["slices"] == 20
