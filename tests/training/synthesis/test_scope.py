"""A scope learnt from label maps accepts scans made of other maps, and says what is wrong with others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.errors import UsageError
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.models import Scope
from medseg.plans import Plan
from medseg.quality import FOREGROUND_FEATURES, check_anatomy, check_scope
from medseg.training.synthesis import fit_synthetic_scope
from medseg.training.synthesis.scope import coarser, segmented, usual_scans
from medseg.volume import LabelMap, Volume
from tests.label_map_data import TABLE, make_map, synthesis_plan
from tests.threshold_model import threshold_plan


def label_map(seed: int) -> LabelMap:
    """A small head, its voxels said to be 6 mm."""
    values = make_map(seed)
    geometry = Geometry(values.shape, np.diag([6.0, 6.0, 6.0, 1.0]))
    return LabelMap(values, geometry, LabelSet.from_ids(row[0] for row in TABLE))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return synthesis_plan()


@pytest.fixture(scope="module")
def scans(plan: Plan) -> list[tuple[str, Volume, LabelMap]]:
    return list(usual_scans([label_map(0), label_map(1)], plan, 12, 100))


def test_a_number_makes_the_same_scan_and_another_another(
    plan: Plan, scans: list[tuple[str, Volume, LabelMap]]
) -> None:
    again = list(usual_scans([label_map(0), label_map(1)], plan, 2, 100))
    for (name, volume, truth), (same, twin, labels) in zip(scans, again, strict=False):
        assert name == same
        np.testing.assert_array_equal(volume.data, twin.data)
        np.testing.assert_array_equal(truth.data, labels.data)
    assert scans[0][1].data.shape != scans[1][1].data.shape


def test_scan_and_truth_lie_on_one_grid_and_their_middle_stays_in_place(
    scans: list[tuple[str, Volume, LabelMap]],
) -> None:
    orientations = set()
    for _, volume, truth in scans:
        assert volume.geometry == truth.geometry
        orientations.add(volume.geometry.orientation)
        middle = truth.geometry.index_to_world(np.argwhere(truth.data > 0).mean(axis=0))
        whole = label_map(0)
        expected = whole.geometry.index_to_world(np.argwhere(whole.data > 0).mean(axis=0))
        assert np.linalg.norm(middle - expected) < 60
    assert len(orientations) > 4


def test_stripped_scans_hold_only_what_is_segmented(plan: Plan) -> None:
    for name, volume, truth in usual_scans([label_map(0)], plan, 10, 200):
        if "stripped" in name:
            outside = volume.data[0][truth.data == 0]
            assert np.median(outside) < 0.2 * np.median(volume.data[0][truth.data > 0])


def test_every_second_voxel_stays_where_it_was() -> None:
    values = make_map(0)
    fine = LabelMap(
        values, Geometry(values.shape, np.diag([1.0, 2.0, 0.7, 1.0])), LabelSet.from_ids(r[0] for r in TABLE)
    )
    coarse = coarser(fine)
    np.testing.assert_array_equal(coarse.data, values[::2, :, ::3])
    np.testing.assert_allclose(
        coarse.geometry.index_to_world((3, 4, 5)), fine.geometry.index_to_world((6, 4, 15))
    )


def test_tissues_become_what_is_segmented(plan: Plan) -> None:
    found = segmented(label_map(0), plan)
    assert found.geometry.spacing == pytest.approx((2.0, 2.0, 2.0))
    values, segments = np.array([[row[0], row[1]] for row in TABLE]).T
    index = np.rint(label_map(0).geometry.world_to_index(found.geometry.index_to_world((30, 40, 30)))).astype(
        int
    )
    value = label_map(0).data[tuple(index)]
    assert found.data[30, 40, 30] == segments[values == value][0]
    assert set(np.unique(found.data)) <= {0, *segments}


def test_a_plan_without_synthesis_is_refused() -> None:
    with pytest.raises(UsageError, match="synthesis"):
        fit_synthetic_scope([label_map(0)], threshold_plan(), "none")


@pytest.fixture(scope="module")
def brain(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scope, Plan, LabelMap]:
    """Learnt from three whole-head maps and few scans; and a map that was kept out."""
    folder = tmp_path_factory.mktemp("labels")
    maps = [folder / f"training_seg_{number:02d}.nii.gz" for number in (1, 8, 13, 6)]
    for path in (*maps, folder / "labels.csv", folder / "t1_priors.csv"):
        shutil.copy(real_data / "brain_labels" / path.name, path)
    plan = medseg.plan(folder, config="brain")
    known = LabelSet.from_ids([tissue.value for tissue in plan.synthesis.tissues if tissue.value])

    def read(path: Path) -> LabelMap:
        volume = medseg.read(path)
        return coarser(LabelMap(volume.data[0].astype(np.uint16), volume.geometry, known))

    scope = fit_synthetic_scope((read(path) for path in maps[:3]), plan, "heads", count=18)
    return scope, plan, read(maps[3])


def test_whole_heads_are_inside_and_other_things_outside(
    brain: tuple[Scope, Plan, LabelMap], real_data: Path
) -> None:
    scope, plan, kept_out = brain
    assert set(scope.features[0]) == {*FOREGROUND_FEATURES, "entropy"}
    for name, volume, truth in usual_scans([kept_out], plan, 6, 900):
        assert check_scope(volume, scope).status == "ok", name
        assert check_anatomy(truth, scope.anatomy).status == "ok", name
    template = template_volume()
    assert check_scope(template, scope).status == "ok"
    wrong_units = Geometry(template.geometry.shape, template.geometry.affine @ np.diag([0.1, 0.1, 0.1, 1]))
    middle = template.data.shape[1] // 2
    half = replace(
        template,
        data=template.data[:, :middle],
        geometry=template.geometry.cropped((0, 0, 0), (middle, *template.data.shape[2:])),
    )
    for other in (
        half,
        replace(template, geometry=wrong_units),
        replace(template, data=(template.data > 0).astype(np.uint8)),
        medseg.read(next((real_data / "hippocampus" / "imagesTr").glob("*.nii.gz"))),
        medseg.read(real_data / "ct" / "example_ct.nii.gz"),
        medseg.read(real_data / "nifti" / "spinal_cord" / "t2" / "t2.nii.gz"),
    ):
        assert check_scope(other, scope).status == "warning"


def test_without_a_name_heads_go_to_the_brain_model_and_crops_to_the_hippocampus(
    brain: tuple[Scope, Plan, LabelMap], real_data: Path
) -> None:
    hippocampus = medseg.load_model("hippocampus").scope
    crop = medseg.read(next((real_data / "hippocampus" / "imagesTr").glob("*.nii.gz")))
    for volume, own, other in ((template_volume(), brain[0], hippocampus), (crop, hippocampus, brain[0])):
        assert check_scope(volume, own).status == "ok"
        assert check_scope(volume, other).status == "warning"


def template_volume() -> Volume:
    """The ICBM152 T1 template that nilearn packages."""
    from importlib.resources import files

    folder = files("nilearn") / "datasets" / "data"
    return medseg.read(Path(str(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")))
