"""Planted mistakes are found, each with its file and what to do; a sound dataset has no faults."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medseg.datasets import DatasetReport, check_dataset
from medseg.datasets.checking.sheet import choose
from medseg.datasets.checking.structures import find_gaps, find_islands
from medseg.errors import UsageError
from tests.label_map_data import write_label_maps

SHAPE = (18, 22, 16)
# Voxels of 0.9 x 1.1 x 2 mm; axes run to the left, to posterior and up, turned by 10 degrees about S.
_C, _S = np.cos(np.radians(10)), np.sin(np.radians(10))
AFFINE = np.array([[-0.9 * _C, 1.1 * _S, 0, 8], [-0.9 * _S, -1.1 * _C, 0, 12], [0, 0, 2, -16], [0, 0, 0, 1]])


@dataclass
class Made:
    """A case of two balls, left (1) and right (2), that may be spoilt before it is written."""

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    label_affine: np.ndarray

    @classmethod
    def of(cls, seed: int) -> Made:
        random = np.random.default_rng(seed)
        image, label = random.normal(100, 10, SHAPE).astype(np.float32), np.zeros(SHAPE, np.uint8)
        for label_id, along in ((1, 0.7), (2, 0.3)):  # i runs to the patient's left
            centre = np.array(SHAPE) * (along, 0.5, 0.5) + random.uniform(-1.2, 1.2, 3)
            label[((np.indices(SHAPE) - centre[:, None, None, None]) ** 2).sum(0) < 3.2**2] = label_id
        image[label > 0] += 60
        return cls(image, label, AFFINE, AFFINE)


def write(folder: Path, cases: dict[str, Made], names: dict[str, str] | None = None) -> Path:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for name, case in cases.items():
        nib.save(nib.Nifti1Image(case.image, case.affine), folder / f"images/{name}.nii")
        nib.save(nib.Nifti1Image(case.label, case.label_affine), folder / f"labels/{name}.nii")
    (folder / "labels.json").write_text(json.dumps(names or {"1": "kidney left", "2": "kidney right"}))
    return folder


def sound(count: int) -> dict[str, Made]:
    return {f"sound_{n}": Made.of(n) for n in range(count)}


def codes(report):
    return [finding.code for finding in report.findings]


def gap(case):
    case.label[:, :, 7:9] = 0


def islands(case):
    case.label[0, 0, 0] = 1


def copied_image(case):
    case.image = Made.of(0).image


def copied_labels(case):
    case.label = Made.of(1).label


def nearly_copied_image(case):
    noise = np.random.default_rng(0).normal(0, 3, SHAPE)
    case.image = (Made.of(2).image * 1.7 + 30 + noise).astype(np.float32)


def moved_labels(case):
    case.label_affine = AFFINE.copy()
    case.label_affine[2, 3] += 0.4


def cropped_labels(case):
    case.label = case.label[:, :, 1:]


def unknown_id(case):
    case.label[case.label == 2] = 40


def no_labels(case):
    case.label[:] = 0


def not_finite(case):
    case.image[3, 3, 3] = np.nan


def fractions(case):
    case.label = case.label.astype(np.float32) / 2


def constant(case):
    case.image[:] = 5


def swapped(case):
    case.label = np.where(case.label == 0, 0, 3 - case.label).astype(np.uint8)


def lone_and_swapped(case):
    swapped(case)
    case.label[case.label == 2] = 0


def inverted(case):
    case.image = case.image.max() - case.image


def hounsfield(case):
    case.image = case.image * 5 - 1100


def thick_slices(case):
    case.affine = case.label_affine = AFFINE @ np.diag([1, 1, 4, 1])


def turned(case):
    other = np.array([[1, 0, 0, 0], [0, -1, 0, 21], [0, 0, 1, 0], [0, 0, 0, 1]])
    case.affine = case.label_affine = AFFINE @ other


PLANTED = [
    (gap, "slices-unlabelled", "fault", "labels"),
    (islands, "tiny-islands", "note", "labels"),
    (copied_image, "duplicate-image", "fault", "images"),
    (copied_labels, "duplicate-labels", "fault", "labels"),
    (nearly_copied_image, "near-duplicate", "note", "images"),
    (moved_labels, "grid-differs", "fault", "labels"),
    (cropped_labels, "grid-differs", "fault", "labels"),
    (unknown_id, "unknown-labels", "fault", "labels"),
    (no_labels, "empty-labels", "note", "labels"),
    (not_finite, "non-finite", "fault", "images"),
    (fractions, "not-labels", "fault", "labels"),
    (constant, "constant-image", "fault", "images"),
    (swapped, "sides-swapped", "fault", "labels"),
    (lone_and_swapped, "sides-swapped", "fault", "labels"),
    (inverted, "contrast-differs", "note", "images"),
    (hounsfield, "other-modality", "fault", "images"),
    (thick_slices, "spacing-differs", "note", "images"),
    (turned, "orientation-differs", "note", "images"),
]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory) -> DatasetReport:
    """A check of a dataset with a case for each mistake, under its name, besides eight sound ones."""
    cases = sound(8)
    for n, (plant, *_) in enumerate(PLANTED, start=50):
        cases[plant.__name__] = Made.of(n)
        plant(cases[plant.__name__])
    folder = tmp_path_factory.mktemp("spoilt")
    return check_dataset(write(folder / "data", cases), folder / "out")


@pytest.mark.parametrize(("plant", "code", "severity", "kind"), PLANTED, ids=[p[0].__name__ for p in PLANTED])
def test_a_planted_mistake_is_found_where_it_is(spoilt, plant, code, severity, kind):
    name = plant.__name__
    (found,) = [one for one in spoilt.findings if one.case == name and one.code == code][:1]
    assert found.severity == severity
    assert found.file == spoilt.dataset.path / f"{kind}/{name}.nii"
    assert found.cure
    others = {one.code for one in spoilt.findings if one.case == name} - {code}
    assert others <= {"contrast-differs"}  # an image of another case: its own labels lie elsewhere in it


def test_what_is_sound_has_no_findings(spoilt, tmp_path):
    assert not [one for one in spoilt.findings if one.case.startswith("sound") or not one.case]
    assert check_dataset(write(tmp_path / "data", sound(5))).findings == ()


def test_the_sheet_and_the_list_are_not_overwritten(spoilt):
    table, sheet = spoilt.files
    assert json.loads(table.read_text()) == spoilt.to_json()
    assert np.array(Image.open(sheet).convert("L")).std() > 10
    assert len(choose(spoilt.findings)) == len({one.code for one in choose(spoilt.findings)}) == 12
    with pytest.raises(UsageError, match=r"worst\.png exist already"):
        check_dataset(spoilt.dataset.path, sheet.parent)


def test_a_dataset_mirrored_as_a_whole_is_one_finding(tmp_path):
    names = {"1": "kidney right", "2": "kidney left", "9": "ureter"}
    report = check_dataset(write(tmp_path / "data", sound(4), names))
    assert [(one.code, one.case, one.label) for one in report.findings] == [
        ("sides-mirrored", "", 2),
        ("label-absent", "", 9),
    ]
    assert "4 of 4 cases" in report.findings[0].message


def test_a_label_that_is_made_of_pieces_is_one_note(tmp_path):
    cases = sound(5)
    for n, case in enumerate(cases.values()):
        case.label[0, : 2 * n : 2, 0] = 1
    report = check_dataset(write(tmp_path / "data", cases))
    assert [(one.code, one.case) for one in report.findings] == [("tiny-islands", "sound_4")]
    assert "4 of 5 cases" in report.findings[0].message


def test_missing_unlabelled_and_repeated_files_of_one_patient_are_named(tmp_path):
    folder = write(tmp_path / "data", sound(3))
    (folder / "images/extra.nii").write_bytes((folder / "images/sound_0.nii").read_bytes())
    assert codes(check_dataset(folder)) == ["image-without-label"]
    rows = "".join(f"c{n},images/sound_{n}.nii,labels/sound_{n}.nii,p{max(n, 1)}\n" for n in range(3))
    rows += "c9,images/gone.nii,labels/sound_1.nii,p9\n"
    (folder / "list.csv").write_text("case_id,image,label,patient\n" + rows)
    report = check_dataset(folder / "list.csv")
    assert codes(report) == ["missing-file", "same-patient"]
    assert report.findings[0].message == "images/gone.nii does not exist"
    assert report.findings[0].cure == "add it, or take the case out of list.csv"
    assert report.findings[1].case == "c0"
    assert "c1" in report.findings[1].message


def test_where_images_cannot_be_found_no_label_is_called_absent(tmp_path):
    folder = write(tmp_path / "data", sound(3))
    rows = "".join(f"pictures/sound_{n}.nii,labels/sound_{n}.nii\n" for n in range(3))
    (folder / "list.csv").write_text("image,label\n" + rows)
    report = check_dataset(folder / "list.csv")
    assert [(one.code, one.message) for one in report.findings] == [
        ("missing-folder", "pictures/ does not exist, and 3 files are needed from it")
    ]
    assert report.findings[0].cure == "add it, or correct the paths in list.csv"
    (folder / "labels.json").write_text('{"1": "kidney left", "2": "kidney right", "3": "spleen"}')
    assert codes(check_dataset(folder)) == ["label-absent"]
    (folder / "images/sound_1.nii").write_bytes(b"")
    assert [one.severity for one in check_dataset(folder).findings] == ["fault"]


def test_label_maps_without_images_are_judged_by_their_tissues(tmp_path):
    folder = write_label_maps(tmp_path / "heads")
    first = sorted(folder.glob("*.nii.gz"))[0]
    found = nib.load(first)
    data = np.asarray(found.dataobj).copy()
    data[0, 0, 0] = 999
    nib.save(nib.Nifti1Image(data, found.affine), first)
    report = check_dataset(folder)
    assert [(one.code, one.label) for one in report.faults] == [("unknown-labels", 999)]


def test_gaps_and_islands_agree_with_brute_force():
    random = np.random.default_rng(11)
    for _ in range(20):
        mask = np.zeros((9, 12, 10), bool)
        mask[2:7, 2:10, 1:9] = random.random((5, 8, 8)) < 0.8
        mask = ndimage.binary_closing(mask)
        axis = int(random.integers(3))
        first = int(random.integers(3, 6))
        np.moveaxis(mask, axis, 0)[first : first + 1] = False
        expected = [
            (a, n)
            for a in range(3)
            for n in range(1, mask.shape[a] - 1)
            if not mask.take(n, a).any() and mask.take(n - 1, a).any() and mask.take(n + 1, a).any()
        ]
        found = find_gaps(mask)
        assert [(one.axis, one.first) for one in found] == expected
        assert all(not mask[one.place.index] for one in found)
    block = np.zeros((30, 20, 20), bool)
    block[:20] = True
    block[24, 4:7, 4], block[27:30, 10:13, 10:13] = True, True
    block[22, 0:4, 0:7] = True  # 28 voxels are no island
    tiny = find_islands(block)
    assert (tiny.count, tiny.largest) == (2, 27)
    assert block[tiny.place.index]


def test_two_structures_apart_are_no_gap():
    mask = np.zeros((12, 10, 10), bool)
    mask[0:4, 0:4, 0:4] = mask[6:10, 6:9, 6:9] = True
    assert find_gaps(mask) == ()


def test_the_real_hippocampus_is_sound(real_data, tmp_path):
    cases = json.loads((real_data / "hippocampus/dataset.json").read_text())
    source = real_data / "hippocampus"
    rows = [
        {k: str((source / entry[k]).resolve()) for k in ("image", "label")}
        for entry in cases["training"][:20]
    ]
    (tmp_path / "list.json").write_text(json.dumps({"labels": cases["labels"], "cases": rows}))
    assert check_dataset(tmp_path / "list.json").findings == ()
