"""The report of a validation: its numbers against SimpleITK, what it keeps, and what its pictures show."""

from __future__ import annotations

import csv
import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy.spatial.transform import Rotation

from medseg.evaluation.metrics import dice_per_label
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.report.worst import error_view, worst_png
from medseg.training.validation import CaseScore, SegmentedCase
from medseg.training.validation_report import ValidationReport
from medseg.volume import LabelMap, Source, Volume

LABELS = LabelSet.from_names({2: "left kidney", 5: "right kidney", 40: "spleen"})
IGNORED = LabelSet.from_names({2: "left kidney", 5: "right kidney", 40: "spleen", 255: "ignore"})
SHAPE, SPACING = (24, 31, 13), (1.1, 0.8, 2.6)


def oblique() -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (14, -9, 21), degrees=True).as_matrix() @ np.diag(SPACING)
    return Geometry(SHAPE, affine)


def case(seed: int, geometry: Geometry, shift: int, ignored: bool = False) -> SegmentedCase:
    """Two boxes, predicted ``shift`` voxels aside; part of the left kidney is taken for the right one."""
    reference = np.zeros(geometry.shape, np.uint8)
    reference[4:12, 5:20], reference[14:22, 6:18] = 2, 5
    predicted = np.roll(reference, shift, axis=1).astype(np.uint16)
    predicted[4:6][predicted[4:6] == 2] = 5
    if ignored:
        reference[:, 25:], predicted[:, 25:] = 255, 40
    image = np.random.default_rng(seed).normal(100, 10, geometry.shape).astype(np.float32)
    score = CaseScore(f"case {seed}", dice_per_label(predicted, reference, LABELS.ids))
    volume = Volume(image[None], geometry, Source(format="image" if geometry.is_2d else "nifti"))
    return SegmentedCase(
        score, volume, LabelMap(reference, geometry, IGNORED), LabelMap(predicted, geometry, LABELS)
    )


def test_numbers_are_those_of_simpleitk_and_no_ignored_voxel_is_in_any(tmp_path: Path) -> None:
    cases = [case(n, oblique(), shift=n, ignored=n == 2) for n in range(3)]
    report = ValidationReport(LABELS, "validation", ignore=255)
    for one in cases:
        report.add(one)
    report.write(tmp_path / "report")
    document = json.loads((tmp_path / "report/report.json").read_text())
    counts = np.array(document["confusion"]["voxels"])
    assert counts.sum() == sum(int((one.reference.data != 255).sum()) for one in cases)
    expected = sum(int(((c.reference.data == 2) & (c.predicted.data == 5)).sum()) for c in cases)
    assert counts[1, 2] == expected
    share = expected / sum(int((one.reference.data == 2).sum()) for one in cases)
    assert (
        document["taken_for_each_other"][0]["words"]
        == f"left kidney: {100 * share:.0f} % taken for right kidney"
    )
    assert document["confusion"]["share_of_reference"][3] is None  # no spleen in the reference

    for name in ("confusion.png", "borders.png", "worst_cases.png"):
        with Image.open(tmp_path / "report" / name) as picture:
            assert picture.width == 1200, name
            assert picture.height < 2200, name

    rows = list(csv.DictReader((tmp_path / "report/cases.csv").read_text().splitlines()))
    assert len(rows) == 9
    for one in cases[:2]:
        for label in (2, 5):
            row = next(r for r in rows if (r["case"], r["label_id"]) == (one.score.case, str(label)))
            masks = [
                sitk.GetImageFromArray((part.data == label).astype(np.uint8).T)
                for part in (one.reference, one.predicted)
            ]
            for mask in masks:
                mask.SetSpacing(SPACING)
            overlap = sitk.LabelOverlapMeasuresImageFilter()
            overlap.Execute(*masks)
            assert float(row["dice"]) == pytest.approx(overlap.GetDiceCoefficient())
            assert row["distance_unit"] == "mm"
    # A shift by two voxels: the missed spleen of the ignored part is nowhere, so it has no number.
    spleen = [row for row in rows if row["label"] == "spleen"]
    assert {row["dice"] for row in spleen} == {""}
    assert all("dice:absent-in-both" in row["missing"] for row in spleen)
    moved = next(r for r in rows if (r["case"], r["label_id"]) == ("case 2", "5"))
    assert float(moved["hd95"]) >= 2 * SPACING[1] - 1e-6


def test_of_many_cases_the_worst_are_kept_and_of_their_arrays_a_slice_each() -> None:
    report = ValidationReport(LABELS, "held-back")
    arrays = []
    for n, shift in enumerate((0, 9, 1, 8, 2, 7, 3, 6, 4)):
        one = case(n, oblique(), shift)
        arrays += [weakref.ref(array) for array in (one.volume.data, one.reference.data, one.predicted.data)]
        report.add(one)
    del one
    gc.collect()
    assert [array for array in arrays if array() is not None] == []
    document = report.to_json()
    assert [row["case"] for row in document["worst_cases"]] == [f"case {n}" for n in (1, 3, 5, 7, 8, 6)]
    dice = [row["mean_dice"] for row in document["worst_cases"]]
    assert dice == sorted(dice)


def test_a_picture_without_a_scale_is_measured_in_pixels() -> None:
    geometry = Geometry((24, 31, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    report = ValidationReport(LABELS, "validation")
    report.add(case(0, geometry, shift=3))
    assert report.to_json()["distance_unit"] == "pixels"
    kidney = next(row for row in report.to_json()["labels"] if row["name"] == "right kidney")
    assert kidney["hd95_mm"]["mean"] >= 3.0
    assert kidney["volume_error_ml"]["n"] == 0  # a picture has no volume


def test_no_case_is_no_report(tmp_path: Path) -> None:
    ValidationReport(LABELS, "validation").write(tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_slice_shown_is_that_of_the_most_errors_each_kind_in_its_colour(tmp_path: Path) -> None:
    geometry = Geometry((30, 20, 12), np.diag((1.0, 1.5, 2.0, 1.0)))
    reference, predicted = np.zeros((2, *geometry.shape), np.uint8)
    reference[5:25, 5:15, 2:10] = 2
    predicted[...] = reference
    predicted[5:9, 5:15, 7] = 0  # missed
    predicted[25:28, 5:15, 7] = 2  # invented
    predicted[12:16, 5:15, 7] = 5  # another label
    maps = [LabelMap(data, geometry, LABELS) for data in (reference, predicted)]
    image = Volume(np.full((1, *geometry.shape), 7, np.float32), geometry, Source(format="nifti"))
    view = error_view("case", image, *maps)
    wrong = view.reference != view.prediction
    assert int(wrong.sum()) == 4 * 10 + 3 * 10 + 4 * 10  # all of them lie in slice 7
    worst_png([view], LABELS, tmp_path / "worst.png")
    with Image.open(tmp_path / "worst.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)[150:]
    for colour in ((213, 94, 0), (204, 121, 167), (240, 228, 66)):
        near = np.abs(pixels - np.array(colour)).max(axis=-1) < 60
        columns = np.flatnonzero(near.sum(axis=0) > 8)
        in_third_pane = columns > 2 * 1200 / 3
        assert in_third_pane.sum() > 20
        assert (~in_third_pane).sum() < 8  # but for the soft edges of other colours
    with pytest.raises(ValueError, match="no case"):
        worst_png([], LABELS, tmp_path / "none.png")


def test_every_pane_of_a_worst_case_bears_the_directions(tmp_path: Path) -> None:
    nothing = np.zeros(SHAPE, np.uint8)
    maps = [LabelMap(nothing, oblique(), LABELS) for _ in range(2)]
    for kind in ("nifti", "image"):
        image = Volume(np.zeros((1, *SHAPE), np.float32), oblique(), Source(format=kind))
        worst_png([error_view("case", image, *maps)], LABELS, tmp_path / f"{kind}.png")
    lettered, plain = (
        np.asarray(Image.open(tmp_path / f"{kind}.png").convert("L")).astype(int)
        for kind in ("nifti", "image")
    )
    columns = np.abs(lettered - plain).max(axis=0) > 60
    left, pane, gap = (int(inches * 120) for inches in (0.15 + 2.25, (10 - 0.3 - 2.25 - 0.2) / 3, 0.1))
    for number in range(3):
        start = left + number * (pane + gap)
        assert columns[start : start + pane].sum() > 20
