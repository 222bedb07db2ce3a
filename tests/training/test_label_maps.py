"""Label maps beside a table: read faithfully, every fault named, and the plan that follows from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medseg
from medseg.datasets import read_dataset
from medseg.errors import InputRefused, PlanInvalid
from medseg.plans import Plan
from medseg.training.label_maps import fingerprint_of_maps, synthesis_of
from medseg.training.recipes import merged
from tests.label_map_data import IDS, SPACING, TABLE, TINY, make_map, write_priors, write_table


@pytest.fixture
def copy(label_maps: Path, tmp_path: Path) -> Path:
    return shutil.copytree(label_maps, tmp_path / "heads")


def test_maps_and_tables_are_read_as_they_stand(label_maps):
    dataset = read_dataset(label_maps)
    assert (dataset.name, dataset.layout) == ("heads", "label-maps")
    assert [(case.id, case.images) for case in dataset.cases] == [(f"head_{n:02d}", ()) for n in range(3)]
    assert dataset.labels is not None
    assert dataset.labels.ids == IDS
    assert dataset.labels[17].name == "left hippocampus"
    how = synthesis_of(dataset)
    assert [(t.value, t.segment, t.intensity) for t in how.tissues] == [(r[0], r[1], r[3]) for r in TABLE]
    priors = how.contrasts["t1"].priors
    for row in TABLE:
        prior = priors[row[3]]
        assert (prior.mean, prior.mean_sd, prior.std, prior.std_sd) == row[4:]


def test_the_fingerprint_counts_what_numpy_counts(label_maps):
    dataset = read_dataset(label_maps)
    fingerprint, labels = fingerprint_of_maps(dataset, dataset.cases)
    assert labels.ids == IDS
    assert fingerprint.shape_median == (24, 32, 20)  # right, anterior, superior, whatever the files' axes
    np.testing.assert_allclose(fingerprint.spacing_median, SPACING, atol=1e-6)
    white = np.mean([np.isin(make_map(n), (2, 25)).mean() for n in range(3)])
    assert fingerprint.voxel_fraction[2] == pytest.approx(white, abs=1e-7)
    assert fingerprint.cases_with_label == dict.fromkeys(IDS, 3)


def test_the_plan_makes_its_images_and_merges_left_and_right(label_maps):
    plan = medseg.plan(label_maps)
    assert plan.synthesis is not None
    assert plan.network.name == "stem_unet"
    assert plan.network.paired_sides
    assert plan.synthesis.flip
    assert [channel.normalisation for channel in plan.channels] == ["range"]
    assert plan.inference.mirror_axes == plan.trained_flips == (0,)
    assert plan.grid.spacing_mm == pytest.approx(SPACING)
    assert Plan.from_yaml(plan.to_yaml()) == plan


def test_a_label_without_its_other_side_is_not_flipped(copy):
    write_table(copy, [(*row[:2], row[2].replace("right hippocampus", "pond"), row[3]) for row in TABLE])
    plan = medseg.plan(copy)
    assert plan.synthesis is not None
    assert not plan.synthesis.flip
    assert plan.inference.mirror_axes == ()
    with pytest.raises(PlanInvalid, match=r"wrong side \(left hippocampus\)"):
        medseg.plan(copy, overrides=("synthesis.flip=true",))
    with pytest.raises(PlanInvalid, match=r"does not flip along \[0\]"):
        medseg.plan(copy, overrides=("inference.mirror_axes=[0]",))


def test_contrasts_of_tables_and_recipe_are_joined(label_maps, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "synthesis:\n  random_weight: 0.5\n  contrasts:\n    t1: {weight: 3}\n"
        "    t2: {weight: 2, priors: {1: {mean: 210}}}\n"
    )
    plan = medseg.plan(label_maps, config=recipe)
    assert plan.synthesis is not None
    contrasts = plan.synthesis.contrasts
    assert {name: one.weight for name, one in contrasts.items()} == {"t1": 3, "t2": 2}
    assert contrasts["t1"].priors == synthesis_of(read_dataset(label_maps)).contrasts["t1"].priors
    assert contrasts["t2"].priors[1].mean == 210
    assert plan.synthesis.random_weight == 0.5


ROWS = [row[:4] for row in TABLE]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*ROWS[:4], (2, 2, "left white matter", "bright")], "line 6, intensity_class: 'bright'"),
        ([*ROWS, (60, 60, "thalamus", "²")], "line 12, intensity_class: '²'"),
        ([*ROWS, (-3, 0, "background", 1)], "line 12, label_in_map: '-3'"),
        ([*ROWS, (60, 60, "thalamus")], "line 12, intensity_class: '', expected a whole number"),
        ([*ROWS, (70000, 0, "background", 1)], "line 12: value: "),
        ([*ROWS, (17, 17, "left hippocampus", 27)], "line 12: value 17 occurs twice"),
        ([*ROWS, (60, 2, "thalamus", 4)], "line 12: label 2 is 'left white matter' and 'thalamus'"),
        ([*ROWS, (60, 60, "csf", 4)], "csf"),
        (ROWS[1:], "expected a row of air"),
        ([(0, 0, "background", 4), *ROWS[1:]], "expected a row of air"),
        ([ROWS[0], (502, 0, "background", 2)], "nothing is to be learnt"),
        ([], "holds no row"),
    ],
)
def test_a_faulty_table_is_named(copy, rows, words):
    write_table(copy, rows)
    with pytest.raises(InputRefused, match=words) as refusal:
        synthesis_of(read_dataset(copy))
    assert refusal.value.code == "bad-labels-csv"
    assert "labels.csv" in str(refusal.value)


def test_a_missing_column_is_named_with_those_there_are(copy):
    text = (copy / "labels.csv").read_text().replace("intensity_class", "class", 1)
    (copy / "labels.csv").write_text(text)
    with pytest.raises(InputRefused, match="columns intensity_class are missing; there are label_in_map"):
        read_dataset(copy)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0, 5, 1, 3, "much")], "line 2: could not convert"),
        ([(0, 5, -1, 3, 1)], "line 2: mean_sd: "),
        ([(0, "nan", 1, 3, 1)], "line 2: mean: "),
        ([(0, 5, 1, 3)], "line 2: could not convert"),
        ([(1, 5, 1, 3, 1)], "line 2: value 1 is not in labels.csv"),
        ([(2, 160, 15, 8, 2), (41, 150, 15, 8, 2)], "line 3: value 41 has other priors"),
    ],
)
def test_faulty_priors_are_named(copy, rows, words):
    write_priors(copy, "t1", rows)
    with pytest.raises(InputRefused, match=words) as refusal:
        synthesis_of(read_dataset(copy))
    assert "t1_priors.csv" in str(refusal.value)


def test_a_value_that_the_table_lacks_is_refused_with_its_case(copy):
    image = nib.load(copy / "head_01.nii.gz")
    data = np.asarray(image.dataobj).copy()
    data[3, 4, 5] = 99
    nib.save(nib.Nifti1Image(data, image.affine), copy / "head_01.nii.gz")
    with pytest.raises(InputRefused, match=r"case 'head_01': values \[99\]") as refusal:
        medseg.plan(copy)
    assert refusal.value.code == "unknown-label"


def test_a_table_beside_images_and_labels_does_not_make_them_label_maps(decathlon, tmp_path):
    shutil.copytree(decathlon / "imagesTr", tmp_path / "images")
    shutil.copytree(decathlon / "labelsTr", tmp_path / "labels")
    write_table(tmp_path, ROWS)
    assert read_dataset(tmp_path).layout == "folders"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": {"spacing_mm": None}}, "expected grid.orientation RAS and grid.spacing_mm"),
        ({"channels": [{"name": "x", "normalisation": "zscore"}]}, "one channel with normalisation range"),
        ({"network": {"name": "unet"}}, "network.paired_sides: stem_unet has them, unet does not"),
        ({"synthesis": {"strip_labels": [9]}}, r"strip_labels: \[9\] are not among"),
        ({"synthesis": {"scale": [1.2, 0.8]}}, "scale .* a range of numbers above 0"),
        ({"synthesis": {"coarse_mm": [0, 2]}}, "coarse_mm"),
        ({"synthesis": {"tissues": [{"value": 1, "intensity": 0}, {"value": 2, "intensity": 1}]}}, "air"),
        ({"synthesis": {"random_weight": 0, "contrasts": {"t1": {"weight": 0}}}}, "all weights are 0"),
        ({"schedule": {"coarse_until": 0.5}, "network": {"deep_supervision": 0}}, "coarse_until"),
    ],
)
def test_a_plan_that_would_train_wrongly_is_refused(label_maps, changes, words):
    values = medseg.plan(label_maps, overrides=TINY).model_dump()
    with pytest.raises(PlanInvalid, match=words):
        Plan.checked(merged(values, changes))
