"""The rows of a case hold all that the data dictionary names."""

from __future__ import annotations

import json

import numpy as np

from medseg.cohort.columns import ROW_COLUMNS, row_columns
from medseg.cohort.rows import case_rows
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.measure import add_up, measure
from medseg.measure.columns import ONLY_2D
from medseg.pipeline.segmentation import Segmentation
from medseg.plans import TotalSpec
from medseg.verdict import OK
from medseg.volume import LabelMap, Volume
from tests.cohort.studies import AFFINE, SHAPE


def _segmented(data: np.ndarray) -> Segmentation:
    labelmap = LabelMap(data, Geometry(SHAPE, AFFINE), LabelSet.from_names({7: "a", 255: "b"}))
    measurements = measure(labelmap)
    return Segmentation(
        labels=labelmap,
        probabilities=None,
        measurements=measurements,
        verdict=OK,
        timings_s={},
        provenance={},
        model="m",
        totals=add_up(measurements, (TotalSpec(name="both", labels=(7, 255)),)),
    )


def _scan(channels: int) -> Volume:
    rng = np.random.default_rng(1)
    return Volume(rng.normal(50, 9, (channels, *SHAPE)).astype(np.float32), Geometry(SHAPE, AFFINE))


def test_labels_come_first_then_totals_each_with_every_column() -> None:
    data = np.random.default_rng(0).choice(np.array([0, 7, 255], np.uint8), SHAPE)
    rows = case_rows(_segmented(data), _scan(1))
    assert [(row["kind"], row["label_id"], row["label"]) for row in rows] == [
        ("label", 7, "a"),
        ("label", 255, "b"),
        ("total", None, "both"),
    ]
    names = [column.name for column in ROW_COLUMNS if column.name not in ONLY_2D]
    for row in rows:
        assert list(row) == names
        assert [name for name, value in row.items() if value is None and name != "label_id"] == [
            "quality",
            "missing",
        ]
    json.dumps(rows, allow_nan=False)


def test_a_row_says_why_numbers_are_missing_each_reason_once() -> None:
    data = np.zeros(SHAPE, np.uint8)
    data[3, 4, 5] = 7
    scan = _scan(1)
    scan.data[0, 3, 4, 5] = np.nan
    voxel, absent, total = case_rows(_segmented(data), scan)
    assert absent["missing"] == "it was not found"
    assert voxel["missing"] == total["missing"]
    assert voxel["missing"].split("; ") == [
        "the centres of its voxels lie in one point",
        "no voxel of it has a finite intensity",
    ]


def test_every_channel_has_its_columns() -> None:
    data = np.random.default_rng(0).choice(np.array([0, 7, 255], np.uint8), SHAPE)
    channels = ("t1", "flair")
    row = case_rows(_segmented(data), _scan(2), channels)[0]
    assert list(row) == [column.name for column in row_columns(channels) if column.name not in ONLY_2D]
    assert row["intensity_mean"] != row["intensity_mean_flair"]
