"""All numbers of a pair of label maps against loops and all pairs of surface elements."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from medseg.evaluation.scores import LabelScores, score_labels
from medseg.evaluation.settings import FIELDS, Settings
from medseg.evaluation.surface import area_surface
from medseg.geometry import Geometry
from medseg.labels import Label, LabelSet
from medseg.volume import LabelMap
from tests.metrics_by_brute_force import KINDS, all_metrics, published_area, random_pair

_TOLERANCE_MM = 1.3


@pytest.fixture(scope="module", autouse=True)
def monai():
    """MONAI carries the published table of areas; its import warns of its own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("monai.metrics.utils", reason="MONAI has the table of areas")


def scores_of(seed: int, definition: str, order: str = "C") -> tuple[LabelScores, dict]:
    """medseg's scores of a random pair, put into a larger grid beside another label, and brute force's."""
    kind, pred, ref, steps = random_pair(seed)
    flat = kind == "plane"
    expected = all_metrics(
        pred, ref, steps, _TOLERANCE_MM, area=_area_of_block if kind == "sheared" else None
    )
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps, (-20, 14, 33)
    rng = np.random.default_rng(seed)
    before, after = rng.integers(0, 4, (2, 3))
    before[2 if flat else 0], after[2 if flat else 0] = 0, 0  # that side stays at the border of the grid
    maps = []
    for mask in (pred, ref):
        data = np.pad(mask.astype(np.uint8) * 7, list(zip(before, after, strict=True)))
        data[(data == 0) & (rng.random(data.shape) > 0.9)] = 3
        grid = Geometry(data.shape, affine, is_2d=flat)
        known = LabelSet((Label(3, "other", (1, 2, 3)), Label(7, "this", (4, 5, 6))))
        maps.append(LabelMap(np.asarray(data, order=order), grid, known))
    names = {"hd95", "hausdorff", "mean_surface_distance", "surface_dice"}
    definitions = dict.fromkeys(names, "voxels" if definition == "pooled" else definition)
    if definition == "pooled":
        definitions["hd95"] = "pooled"
    settings = Settings.parse(["all"], definitions, surface_tolerance_mm=_TOLERANCE_MM)
    if flat:  # no thickness, so no volume
        expected["volume_error_ml"] = None
    for name in names:
        expected[FIELDS[name][0]] = expected[f"{name}:{settings.definitions[name]}"]
    return score_labels(*maps, (Label(7, "this", (4, 5, 6)),), settings)[0], expected


def check(scores: LabelScores, expected: dict) -> None:
    """Every number equals brute force's; what has none has a reason."""
    for name in (field for metric in FIELDS if metric != "lesions" for field in FIELDS[metric]):
        if expected[name] is None:
            assert getattr(scores, name) is None, name
        else:
            assert getattr(scores, name) == pytest.approx(expected[name], abs=1e-6, rel=1e-6), name
        assert (name in scores.missing) == (expected[name] is None), name


def _area_of_block(block, steps):
    found = area_surface(block, steps)
    centre = np.isclose(found.points, steps.sum(axis=1) / 2).all(axis=1)
    return float(found.weights[centre].sum())


@pytest.mark.parametrize("definition", ["area", "voxels", "pooled"])
@pytest.mark.parametrize("seed", range(len(KINDS)), ids=KINDS)
def test_every_number_of_a_label_agrees_with_brute_force(seed, definition):
    check(*scores_of(seed, definition))


def test_the_order_in_memory_changes_no_number():
    check(*scores_of(KINDS.index("sheared"), "area", order="F"))


def test_areas_on_a_sheared_grid_are_the_published_ones_where_cuts_are_flat():
    *_, steps = random_pair(KINDS.index("sheared"))
    blocks = [np.array([code >> bit & 1 for bit in range(8)], bool).reshape(2, 2, 2) for code in range(256)]
    ours, theirs = (np.array([area(b, steps) for b in blocks]) for area in (_area_of_block, published_area))
    # Of the others the table mirrors some: that changes no area unless there is shear.
    assert np.isclose(ours, theirs, rtol=1e-6).sum() > 200
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.01)


def test_turning_an_array_round_on_a_sheared_grid_changes_no_area():
    _, mask, _, steps = random_pair(KINDS.index("sheared"))
    area = area_surface(mask, steps).weights.sum()
    flipped = steps * (-1, 1, 1)
    assert area_surface(mask.T, steps[:, ::-1]).weights.sum() == pytest.approx(area, rel=1e-12)
    assert area_surface(mask[::-1], flipped).weights.sum() == pytest.approx(area, rel=1e-12)
