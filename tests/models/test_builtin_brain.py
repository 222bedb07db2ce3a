"""The built-in brain model, as it ships: whole, named as its source names things, right on a real head."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import nilearn
import numpy as np
import pytest

import medseg
from medseg.models import verify_bundle
from medseg.models.registry import BUILTIN

DATA = Path(nilearn.__file__).parent / "datasets" / "data"
TEMPLATE = DATA / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
GREY = (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58)
WHITE = (2, 41, 7, 46, 16, 28, 60)


@pytest.fixture(scope="module")
def brain() -> medseg.ModelBundle:
    return medseg.load_model("brain")


@pytest.fixture(scope="module")
def result() -> medseg.Segmentation:
    """The ICBM 152 template, a real T1 without a skull, by whichever model its scope finds."""
    return medseg.infer(TEMPLATE)


def test_the_bundle_is_whole_and_the_built_in_models_are_small(brain):
    assert verify_bundle(brain) == []
    assert sum(path.stat().st_size for path in BUILTIN.rglob("*") if path.is_file()) < 30e6


def test_labels_are_those_of_the_table(brain, real_data):
    with (real_data / "brain_labels" / "labels.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    wanted = {int(row["segmentation_label"]): row["segmentation_name"] for row in rows}
    del wanted[0]
    assert {label.id: label.name for label in brain.label_set} == wanted


def test_a_head_finds_the_brain_model_by_itself_and_is_segmented_well(result):
    assert result.model == "brain"
    found = result.labels.data
    assert result.labels.geometry.shape == nibabel.load(TEMPLATE).shape
    for kind, ids in (("gm", GREY), ("wm", WHITE)):
        share = np.asarray(
            nibabel.load(DATA / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz").dataobj
        )
        truth, ours = share > 127, np.isin(found, ids)
        assert 2 * (truth & ours).sum() / (truth.sum() + ours.sum()) >= 0.80, kind
    volumes = {total.name: total.volume_ml for total in result.totals}
    assert (
        1300 < volumes["brain"] < volumes["total intracranial volume"] < 2200
    )  # the template is a large head
    assert all(abs(pair.index_percent) < 40 for pair in result.asymmetries)


def test_left_is_left(result):
    # In world coordinates x grows to the right: every left structure lies at a smaller x than its partner.
    ids, geometry = result.labels.data, result.labels.geometry
    for pair in result.labels.labels.pairs:
        left, right = (
            (geometry.affine @ [*np.argwhere(ids == label).mean(0), 1])[0]
            for label in (pair.left, pair.right)
        )
        assert left < -2 < 2 < right, pair.name


def test_every_structure_has_an_estimate_of_its_quality(result):
    estimates = {one.name: one.quality for one in result.measurements}
    assert all(value is not None and 0.3 < value <= 1 for value in estimates.values()), estimates
