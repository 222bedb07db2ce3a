"""A segmentation that is no anatomy is flagged, with the reason; heads of any size and pose pass."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.models import Anatomy, Scope
from medseg.quality import check_anatomy, fit_anatomy
from medseg.volume import LabelMap
from tests.quality.brains import IDS, LABELS, brain, grid, relabelled


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    random = np.random.default_rng(0)
    return fit_anatomy(
        brain(
            scale=random.uniform(0.92, 1.08), turn=random.uniform(-10, 10, 3), shift=random.uniform(-9, 9, 3)
        )
        for _ in range(6)
    )


def fault(labels: LabelMap, anatomy: Anatomy) -> str:
    """The message, empty where there is none."""
    verdict = check_anatomy(labels, anatomy)
    assert verdict.codes in ((), ("outside-scope-anatomy",))
    assert verdict.status == ("warning" if verdict.reasons else "ok")
    return "".join(reason.message for reason in verdict.reasons)


def test_volumes_and_places_are_those_of_the_maps():
    labels = brain()
    anatomy = fit_anatomy([labels])
    points = {}
    for structure in anatomy.structures:
        where = np.argwhere(labels.data == structure.id)
        assert structure.volume_ml == pytest.approx(len(where) * 3.0 * 2.5 * 4.0 / 1000, rel=1e-3)
        points[structure.id] = labels.geometry.index_to_world(np.median(where, axis=0))
    middle = np.mean(list(points.values()), axis=0)
    for structure in anatomy.structures:  # a median between two voxels is the lower one
        np.testing.assert_allclose(structure.centre_mm, points[structure.id] - middle, atol=2.6)
    assert Anatomy.model_validate(anatomy.model_dump(mode="json")) == anatomy


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.2])
@pytest.mark.parametrize("turn", [(0, 0, 0), (30, 0, 0), (-30, 5, 0), (0, 20, 15)])
def test_heads_of_other_sizes_and_poses_are_inside(anatomy, scale, turn):
    geometry = grid(size_mm=(240.0, 260.0, 240.0))
    assert fault(brain(geometry, scale=scale, turn=turn, shift=(10, -15, 8)), anatomy) == ""


def test_how_the_array_is_stored_does_not_matter(anatomy):
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            assert fault(brain(grid((3.0, 4.0, 3.5), orientation=(axes, signs))), anatomy) == ""


@pytest.mark.parametrize("spacing", [(1.2, 1.2, 8.0), (6.0, 1.5, 1.5), (1.0, 1.0, 1.0)])
def test_neither_do_voxel_sizes(anatomy, spacing):
    assert fault(brain(grid(spacing)), anatomy) == ""


@pytest.mark.parametrize(
    ("flips", "words"),
    [((1, 1, -1), ""), ((1, -1, 1), ""), ((-1, -1, 1), "left and right exchanged and back to front"),
     ((1, -1, -1), "back to front and upside down")],
)  # fmt: skip
def test_headers_that_turn_or_mirror_a_head_are_flagged(anatomy, flips, words):
    labels = brain()
    wrong = Geometry(labels.geometry.shape, np.diag([*flips, 1]) @ labels.geometry.affine)
    text = fault(relabelled(labels, wrong), anatomy)
    assert "turned by" in text
    assert words in text


def test_left_and_right_mirrored_by_the_header_is_seen_by_the_names(anatomy):
    labels = brain()
    wrong = Geometry(labels.geometry.shape, np.diag([-1, 1, 1, 1]) @ labels.geometry.affine)
    assert "turned by" in fault(relabelled(labels, wrong), anatomy)


def test_exchanged_axes_are_flagged(anatomy):
    labels = brain(grid((3.0, 3.0, 3.0)))
    for axes in ((1, 0, 2), (2, 1, 0), (1, 2, 0)):
        moved = labels.data.transpose(axes)
        assert "turned by" in fault(
            LabelMap(moved, Geometry(moved.shape, np.diag([3.0, 3, 3, 1])), LABELS), anatomy
        )


@pytest.mark.parametrize("factor", [0.1, 0.5, 2.0, 1000.0])
def test_wrong_units_are_flagged(anatomy, factor):
    labels = brain()
    wrong = Geometry(labels.geometry.shape, np.diag([factor] * 3 + [1]) @ labels.geometry.affine)
    text = fault(relabelled(labels, wrong), anatomy)
    assert "mL in all" in text
    assert "wrong units of the spacing?" in text


def part(labels: LabelMap, axis: int, keep: slice) -> LabelMap:
    window = tuple(keep if a == axis else slice(None) for a in range(3))
    start = tuple(keep.indices(n)[0] if a == axis else 0 for a, n in enumerate(labels.data.shape))
    data = labels.data[window]
    return LabelMap(data, labels.geometry.cropped(start, data.shape), LABELS)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("upper", [True, False])
def test_half_a_head_is_flagged(anatomy, axis, upper):
    labels = brain(grid((3.0, 3.0, 3.0)))
    centre = int(np.argwhere(labels.data > 0).mean(axis=0)[axis].round())
    keep = slice(centre, None) if upper else slice(0, centre)
    text = fault(part(labels, axis, keep), anatomy)
    assert text
    if axis == 0:
        assert f"the {'left' if upper else 'right'} side has" in text


def test_a_field_of_view_that_ends_in_the_cerebellum_is_inside(anatomy):
    labels = brain(grid((3.0, 3.0, 3.0)))
    bottom = np.flatnonzero((labels.data > 0).any(axis=(0, 1)))[0]
    for removed in (3, 6, 9):
        assert fault(part(labels, 2, slice(int(bottom) + removed, None)), anatomy) == ""


def test_structures_in_view_that_are_missing_are_named(anatomy):
    gone = [f"{side} {name}" for side in ("left", "right") for name in ("thalamus", "putamen", "hippocampus")]
    text = fault(brain(without=gone), anatomy)
    assert "6 of 15 structures not found" in text
    assert "left hippocampus" in text or "left thalamus" in text
    assert fault(brain(without=gone[:2]), anatomy) == ""


def test_structures_out_of_their_place_are_named(anatomy):
    labels = brain()
    data = labels.data.copy()
    moved = np.zeros_like(data)
    for name in ("left thalamus", "right thalamus", "left putamen", "brain-stem", "left hippocampus"):
        shifted = np.roll(data == IDS[name], 16, axis=2)
        data[data == IDS[name]] = 0
        moved[shifted] = IDS[name]
    data = np.where(moved > 0, moved, data)
    text = fault(replace(labels, data=data), anatomy)
    assert "not found, out of place or of a wrong size" in text
    assert "brain-stem" in text


def test_structures_of_a_wrong_size_are_named(anatomy):
    labels = brain()
    data = labels.data.copy()
    for name in ("left thalamus", "right thalamus", "left putamen", "right putamen"):
        where = np.argwhere(data == IDS[name])
        radius = np.abs(where - where.mean(axis=0)).max(axis=1)
        far = where[radius > np.sort(radius)[len(radius) // 8]]
        data[tuple(far.T)] = IDS["left white matter" if "left" in name else "right white matter"]
    text = fault(replace(labels, data=data), anatomy)
    assert "4 of 15 structures not found, out of place or of a wrong size" in text
    assert "left thalamus" in text


def test_noise_is_no_anatomy(anatomy):
    random = np.random.default_rng(4)
    geometry = grid()
    data = random.choice(np.array([0, *LABELS.ids], np.uint8), geometry.shape)
    assert fault(LabelMap(data, geometry, LABELS), anatomy)


def test_nothing_found_and_unknown_spacing_are_left_to_others(anatomy):
    labels = brain()
    assert fault(replace(labels, data=np.zeros_like(labels.data)), anatomy) == ""
    unknown = Geometry(
        labels.geometry.shape, labels.geometry.affine * [[9], [9], [9], [1]], spacing_known=False
    )
    assert fault(relabelled(labels, unknown), anatomy) == ""


def test_models_of_few_structures_have_an_anatomy_too():
    names = LabelSet.from_names({1: "anterior", 2: "posterior"})
    data = np.zeros((40, 50, 30), np.uint8)
    data[15:25, 26:40, 10:20], data[15:25, 10:26, 10:20] = 1, 2
    labels = LabelMap(data, Geometry(data.shape, np.diag([1.0, 1.0, 1.2, 1.0])), names)
    few = fit_anatomy([labels])
    assert few.left_to_right is None
    assert fault(labels, few) == ""
    one = replace(labels, data=np.where(data == 2, 0, data).astype(np.uint8))
    assert "1 of 2 structures not found: posterior" in fault(one, few)


def test_labels_that_not_every_map_has_are_left_out():
    few = fit_anatomy([brain(), brain(without=["brain-stem"])])
    assert IDS["brain-stem"] not in {structure.id for structure in few.structures}
    with pytest.raises(ValueError, match="share labels"):
        fit_anatomy([])


def test_a_scope_without_an_anatomy_does_not_name_it(anatomy):
    plain = Scope(dimensions=3, description="x")
    assert "anatomy" not in plain.model_dump(mode="json")
    named = Scope(dimensions=3, description="x", anatomy=anatomy)
    assert Scope.model_validate(named.model_dump(mode="json")) == named


@pytest.mark.parametrize(
    "change", [{"structures": ()}, {"scale": (2.0, 1.0)}, {"complete": 1.5}, {"cut": 0.0}, {"other": 1}]
)
def test_an_anatomy_that_contradicts_itself_is_refused(anatomy, change):
    with pytest.raises(ValueError, match="Anatomy"):
        Anatomy.model_validate(anatomy.model_dump() | change)
    twice = {"structures": [one.model_dump() for one in (*anatomy.structures, anatomy.structures[0])]}
    with pytest.raises(ValueError, match="ascending"):
        Anatomy.model_validate(anatomy.model_dump() | twice)
