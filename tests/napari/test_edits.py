"""Edits of a label array against scipy, SimpleITK and brute force: pure tests, no viewer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from napari_medseg.editing.boxes import bounding_box
from napari_medseg.editing.brush import near_way, paint
from napari_medseg.editing.components import keep_component, remove_component, split_component
from napari_medseg.editing.morphology import fill_holes, grow, shrink, smooth
from napari_medseg.edits import Edit, allowed, copy_slice, merge_labels, swap_labels
from scipy import ndimage

from medseg import UsageError

_SHAPE = (19, 15, 11)
_SPACING = (0.8, 1.5, 2.5)


@pytest.fixture
def labels():
    """Blobs of labels 1 to 3 that touch each other and the array's edge, made by scipy."""
    noise = np.random.default_rng(4).normal(size=_SHAPE)
    field = ndimage.gaussian_filter(noise, np.divide(2.0, _SPACING))
    found = np.digitize(field, np.quantile(field, (0.5, 0.7, 0.85))).astype(np.uint8)
    assert set(np.unique(found[0])) >= {0, 1, 2}
    return found


def _applied(labels, edit):
    """The array after the edit; and what every edit promises: the array stays, the box is tight."""
    after = labels.copy()
    count = edit.apply(after)
    changed = after != labels
    assert count == np.count_nonzero(changed)
    assert edit.box == bounding_box(changed)
    assert edit.values.dtype == labels.dtype
    return after


def _parts(axis, index):
    """Index expressions of the arrays that are treated by themselves."""
    if axis is None:
        return [np.s_[:, :, :]]
    slices = range(_SHAPE[axis]) if index is None else [index]
    return [tuple(n if a == axis else slice(None) for a in range(3)) for n in slices]


def _in_plane(axis):
    return [size for n, size in enumerate(_SPACING) if n != axis]


_PLANES = [(None, None), (0, None), (1, None), (2, None), (2, 4), (0, 0)]


@pytest.mark.parametrize(("axis", "index"), _PLANES)
@pytest.mark.parametrize("distance", [0.5, 2.5, 4.1])
def test_grow_reaches_the_background_that_scipys_distance_transform_has_within(labels, distance, axis, index):
    before = labels.copy()
    expected = labels.copy()
    for part in _parts(axis, index):
        one = labels[part]
        if (one == 2).any():
            far = ndimage.distance_transform_edt(one != 2, _in_plane(axis))
            expected[part][(far <= distance + 1e-6) & (one == 0)] = 2
    edit = grow(labels, 2, distance, _SPACING, axis=axis, index=index)
    np.testing.assert_array_equal(_applied(labels, edit), expected)
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize(("axis", "index"), _PLANES)
@pytest.mark.parametrize("distance", [0.8, 2.5])
def test_shrink_leaves_what_scipys_distance_transform_has_beyond(labels, distance, axis, index):
    mask = np.where(labels == 0, 0, 1).astype(np.uint16) * 300
    expected = mask.copy()
    for part in _parts(axis, index):
        one = mask[part]
        if not one.all():
            far = ndimage.distance_transform_edt(one, _in_plane(axis))
            expected[part][far <= distance + 1e-6] = 0
    edit = shrink(mask, 300, distance, _SPACING, axis=axis, index=index)
    np.testing.assert_array_equal(_applied(mask, edit), expected)


def test_grow_by_its_distance_and_over_all_takes_other_labels(labels):
    far = ndimage.distance_transform_edt(labels != 3, _SPACING)
    after = _applied(labels, grow(labels, 3, 2.5, _SPACING, over="all"))
    np.testing.assert_array_equal(after, np.where(far <= 2.5, 3, labels))
    assert np.count_nonzero((labels == 2) & (after == 3)) > 20


@pytest.mark.parametrize(("axis", "index"), _PLANES)
@pytest.mark.parametrize("radius", [1.6, 3.2])
def test_median_of_a_lone_label_is_scipys_median_filter_of_its_mask(labels, radius, axis, index):
    mask = (labels > 1).astype(np.uint8)
    reach = [0 if n == axis else int(radius / size + 1e-6) for n, size in enumerate(_SPACING)]
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    ball = sum((g * size) ** 2 for g, size in zip(grid, _SPACING, strict=True)) <= radius**2 + 1e-6
    expected = ndimage.median_filter(mask, footprint=ball, mode="nearest")
    if index is not None:
        keep = np.ones(_SHAPE, bool)
        keep[_parts(axis, index)[0]] = False
        expected[keep] = mask[keep]
    edit = smooth(mask, (1,), radius, _SPACING, axis=axis, index=index)
    np.testing.assert_array_equal(_applied(mask, edit), expected)


@pytest.mark.parametrize("axis", [None, 1])
def test_gaussian_smoothing_gives_each_voxel_to_the_heaviest_of_all_labels(labels, axis):
    sigma = [0.0 if n == axis else 1.2 / size for n, size in enumerate(_SPACING)]
    weights = np.array(
        [
            ndimage.gaussian_filter((labels == n).astype(float), sigma, mode="nearest", truncate=3)
            for n in range(4)
        ]
    )
    expected = weights.argmax(axis=0)
    after = _applied(
        labels, smooth(labels, (1, 2, 3), 1.2, _SPACING, method="gaussian", axis=axis, over="all")
    )
    ranked = np.sort(weights, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-5
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(after[clear], expected[clear])


def test_smoothing_one_label_leaves_no_gap_to_its_neighbour():
    labels = np.full(_SHAPE, 2, np.uint8)
    labels[:10] = 1
    labels[10, 7, 5] = 1  # a bump of 1 into 2
    after = _applied(labels, smooth(labels, (1,), 2.6, _SPACING))
    assert after[10, 7, 5] == 2
    np.testing.assert_array_equal(after == 0, False)


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_holes_are_what_scipy_fills(axis):
    mask = np.where(np.random.default_rng(0).random(_SHAPE) < 0.7, 7, 0).astype(np.int32)
    expected = mask.copy()
    for part in _parts(axis, None):
        expected[part][ndimage.binary_fill_holes(mask[part] == 7)] = 7
    after = _applied(mask, fill_holes(mask, 7, _SPACING, axis=axis))
    np.testing.assert_array_equal(after, expected)
    assert np.count_nonzero(after != mask) > 20


def test_a_hole_larger_than_the_limit_and_a_label_inside_a_hole_stay():
    labels = np.zeros(_SHAPE, np.uint8)
    labels[2:17, 2:13, 2:9] = 1
    labels[4:6, 4:6, 4] = 0  # 4 voxels of 3 mm3
    labels[9:12, 4:6, 4] = 0  # 6 voxels, of which
    labels[10, 4, 4] = 5  # one is of another label
    small = _applied(labels, fill_holes(labels, 1, _SPACING, largest=12.0))
    assert (small[4:6, 4:6, 4] == 1).all()
    assert np.count_nonzero(small == 0) == np.count_nonzero(labels == 0) - 4
    every = _applied(labels, fill_holes(labels, 1, _SPACING))
    assert np.argwhere(every == 5).tolist() == [[10, 4, 4]]
    assert not (_applied(labels, fill_holes(labels, 1, _SPACING, over="all")) == 5).any()
    in_slices = fill_holes(labels, 1, _SPACING, axis=2, largest=4 * 0.8 * 1.5)  # mm2 now
    np.testing.assert_array_equal(_applied(labels, in_slices), small)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("axis", [None, 1])
def test_the_clicked_component_is_scipys(labels, connectivity, axis):
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    if axis is not None:
        structure = structure & (np.indices((3, 3, 3))[axis] == 1)
    pieces, count = ndimage.label(labels == 1, structure)
    assert count > 1
    seen = [tuple(np.argwhere(pieces == n)[0]) for n in (1, count)]
    for voxel in seen:
        piece = pieces == pieces[voxel]
        rest = (labels == 1) & ~piece
        if axis is not None:
            rest &= np.indices(_SHAPE)[axis] == voxel[axis]
        options = {"connectivity": connectivity, "axis": axis}
        kept = _applied(labels, keep_component(labels, voxel, **options))
        np.testing.assert_array_equal(kept, np.where(rest, 0, labels))
        gone = _applied(labels, remove_component(labels, voxel, **options))
        np.testing.assert_array_equal(gone, np.where(piece, 0, labels))
        split = _applied(labels, split_component(labels, voxel, 9, **options))
        np.testing.assert_array_equal(split, np.where(piece, 9, labels))


def test_merging_and_swapping_relabel_as_simpleitk_does(labels):
    def relabelled(change, array):
        image = sitk.ChangeLabel(sitk.GetImageFromArray(array), changeMap=change)
        return sitk.GetArrayFromImage(image)

    merged = _applied(labels, merge_labels(labels, (1, 3), 2))
    np.testing.assert_array_equal(merged, relabelled({1: 2, 3: 2}, labels))
    swapped = _applied(labels, swap_labels(labels, [(1, 2), (3, 8)]))
    np.testing.assert_array_equal(swapped, relabelled({1: 2, 2: 1, 3: 8}, labels))
    box = np.s_[4:9, :, -5:]
    expected = labels.copy()
    expected[box] = relabelled({1: 2, 2: 1}, np.ascontiguousarray(labels[box]))
    np.testing.assert_array_equal(_applied(labels, swap_labels(labels, [(1, 2)], box=box)), expected)


def test_a_copied_slice_is_added_to_the_next_or_replaces_it(labels):
    source, target = labels[:, 6].copy(), labels[:, 7].copy()
    both = np.isin(source, (1, 2))
    added = labels.copy()
    added[:, 7] = np.where(both & (target == 0), source, target)
    np.testing.assert_array_equal(_applied(labels, copy_slice(labels, (1, 2), 1, 6, 7)), added)
    replaced = labels.copy()
    replaced[:, 7] = np.where(both, source, np.where(np.isin(target, (1, 2)), 0, target))
    edit = copy_slice(labels, (1, 2), 1, 6, 7, replace=True, over="all")
    np.testing.assert_array_equal(_applied(labels, edit), replaced)


def _stroke_by_brute_force(points, radius, axis):
    """Voxels near enough to any of many points along the stroke."""
    path = [np.linspace(a, b, 400) for a, b in itertools.pairwise(points)] or [np.array(points)]
    grid = np.stack(np.indices(_SHAPE), axis=-1) * np.array(_SPACING)
    near = np.zeros(_SHAPE, bool)
    for point in np.concatenate(path):
        near |= ((grid - point * _SPACING) ** 2).sum(axis=-1) <= radius**2 + 1e-6
    if axis is not None:
        near &= np.indices(_SHAPE)[axis] == points[0][axis]
    return near


@pytest.mark.parametrize("axis", [None, 0, 2])
@pytest.mark.parametrize(
    "points", [[(7, 6, 4)], [(2, 3, 5), (15, 12, 5)], [(7, 1, 9), (7, 12, 9), (7, 12, 2)]]
)
def test_a_brush_paints_what_is_near_its_stroke(labels, points, axis):
    if axis == 2 and len({point[2] for point in points}) > 1:
        with pytest.raises(UsageError, match="several slices"):
            paint(labels, 5, points, 3.0, _SPACING, axis=axis)
        return
    if axis == 0:
        points = [(7, *point[1:]) for point in points]
    near = _stroke_by_brute_force(points, 3.0, axis)
    after = _applied(labels, paint(labels, 5, points, 3.0, _SPACING, axis=axis))
    np.testing.assert_array_equal(after, np.where(near, 5, labels))
    kept = _applied(labels, paint(labels, 5, points, 3.0, _SPACING, axis=axis, over="background"))
    np.testing.assert_array_equal(kept, np.where(near & (labels == 0), 5, labels))


@pytest.mark.parametrize("radius", [2.2, 45.0])  # the second is too large to be kept
@pytest.mark.parametrize(
    "points",
    [[(3.4, 6.6, 2.3), (9.1, 2.2, 4.7)], [(-4, 3, 5), (15, 40, 5)], [(1, 1.5, 1), (1.2, 9, 1), (14, 9.5, 8)]],
)
def test_a_stroke_between_voxels_or_from_outside_is_the_same_every_time(labels, points, radius):
    near = _stroke_by_brute_force(points, radius, None)
    for i, j, k in (np.floor(np.add(point, 0.5)).astype(int) for point in points):
        if (0 <= i < _SHAPE[0]) and (0 <= j < _SHAPE[1]) and (0 <= k < _SHAPE[2]):
            near[i, j, k] = True
    for over in ("background", "all"):  # the first must leave nothing behind for the second
        may = (labels == 0) | (over == "all")
        after = _applied(labels, paint(labels, 5, points, radius, _SPACING, over=over))
        np.testing.assert_array_equal(after, np.where(near & may, 5, labels))


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("radius", [0.4, 2.2, 45.0])  # the last is too large to be kept
def test_the_way_between_two_voxels_is_the_same_wherever_it_lies_and_however_often(radius, axis):
    for start, end in (((3, 6, 2), (9, 6, 4)), ((-4, 6, 5), (2, 6, 7)), ((15, 6, 9), (9, 6, 7))) * 2:
        box, near = near_way(start, end, radius, _SPACING, _SHAPE, axis=axis)
        found = np.zeros(_SHAPE, bool)
        found[box] = near
        np.testing.assert_array_equal(found, _stroke_by_brute_force([start, end], radius, axis))
    with pytest.raises(UsageError, match="several slices"):
        near_way((3, 6, 2), (9, 7, 4), radius, _SPACING, _SHAPE, axis=1)
    assert near_way((-200, 6, 2), (-199, 6, 2), radius, _SPACING, _SHAPE, axis=axis)[1].size == 0


def test_a_threshold_brush_paints_the_range_with_its_ends_and_never_nan(labels):
    image = np.random.default_rng(1).integers(0, 6, _SHAPE).astype(np.float32)
    image[7, 6, 4] = np.nan
    near = _stroke_by_brute_force([(7, 6, 4)], 4.0, None)
    edit = paint(labels, 0, (7, 6, 4), 4.0, _SPACING, image=image, intensity=(2, 3))
    expected = np.where(near & np.isin(image, (2, 3)), 0, labels)
    np.testing.assert_array_equal(_applied(labels, edit), expected)


def test_a_brush_smaller_than_a_voxel_paints_the_voxel_it_is_in_and_none_outside(labels):
    after = _applied(labels, paint(labels, 5, [(3.4, 6.6, 2.0), (-3.0, 6.6, 2.0)], 0.01, _SPACING))
    assert (3, 7, 2) in set(map(tuple, np.argwhere(after == 5)))
    assert paint(labels, 5, (-9, 4, 4), 2.0, _SPACING).is_empty
    assert np.count_nonzero(_applied(labels, paint(labels, 5, (-1, 4, 4), 2.0, _SPACING)) == 5) > 0


def test_allowed_holds_every_condition_and_every_edit_keeps_to_it(labels):
    rng = np.random.default_rng(2)
    image = rng.normal(size=_SHAPE)
    region = rng.random(_SHAPE) < 0.7
    where = allowed(labels, inside_labels=(0, 2), image=image, intensity=(-1, 1.5), region=region)
    expected = [
        labels[v] in (0, 2) and -1 <= image[v] <= 1.5 and bool(region[v]) for v in np.ndindex(*_SHAPE)
    ]
    np.testing.assert_array_equal(where.ravel(), expected)
    assert allowed(labels) is None
    voxel = tuple(np.argwhere(labels == 2)[0])
    calls = {
        grow: (2, 3.0, _SPACING),
        shrink: (2, 1.5, _SPACING),
        smooth: ((2,), 2.6, _SPACING),
        fill_holes: (2, _SPACING),
        merge_labels: ((1, 2), 3),
        swap_labels: ([(1, 2)],),
        copy_slice: ((1, 2), 0, 4, 5),
        remove_component: (voxel,),
        keep_component: (voxel,),
        paint: (2, (7, 6, 4), 4.0, _SPACING),
    }
    for edit, arguments in calls.items():
        free = _applied(labels, edit(labels, *arguments))
        kept = _applied(labels, edit(labels, *arguments, where=where))
        np.testing.assert_array_equal(kept, np.where(where, free, labels), err_msg=edit.__name__)


def test_a_label_that_is_not_there_gives_an_empty_edit(labels):
    edits = [
        grow(labels, 77, 3.0, _SPACING),
        shrink(labels, 77, 3.0, _SPACING),
        smooth(labels, (77,), 3.0, _SPACING),
        smooth(labels, (77,), 3.0, _SPACING, method="gaussian", axis=1),
        fill_holes(labels, 77, _SPACING),
        fill_holes(labels, 77, _SPACING, axis=2),
        merge_labels(labels, (77,), 1),
        swap_labels(labels, [(77, 78)]),
        copy_slice(labels, (77,), 0, 1, 2),
    ]
    for edit in edits:
        assert edit.is_empty
        assert edit.apply(labels.copy()) == 0


def test_a_picture_is_edited_in_its_one_slice():
    picture = np.zeros((9, 8, 1), np.uint8)
    picture[2:7, 2:7] = 1
    picture[4, 4] = 0
    assert _applied(picture, fill_holes(picture, 1, (1.0, 1.0, 1.0), axis=2))[4, 4, 0] == 1
    assert np.count_nonzero(_applied(picture, shrink(picture, 1, 1.0, (1.0, 1.0, 1.0)))) == 9 - 5
    assert np.count_nonzero(_applied(picture, grow(picture, 1, 1.0, (1.0, 1.0, 1.0)))) == 25 + 20


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: grow(x, 256, 1.0, _SPACING), "uint8 and hold 0 to 255"),
        (lambda x: grow(x, 1, 0.0, _SPACING), "more than 0"),
        (lambda x: grow(x, 1, 1.0, (1.0, 0.0, 1.0)), "spacing"),
        (lambda x: grow(x, 1, 1.0, _SPACING, index=3), "give the axis"),
        (lambda x: shrink(x, 1, 1.0, _SPACING, axis=2, index=11), "slices 0 to 10"),
        (lambda x: smooth(x, (1,), 1.0, _SPACING, method="mean"), "'median', 'gaussian'"),
        (lambda x: grow(x, 1, 1.0, _SPACING, over="none"), "'background', 'all'"),
        (lambda x: grow(x, 1, 1.0, _SPACING, where=np.ones((2, 2, 2), bool)), "expected the same"),
        (lambda x: grow(x, 1, 1.0, _SPACING, where=x), "expected bool"),
        (lambda x: grow(x.astype(float), 1, 1.0, _SPACING), "whole numbers"),
        (lambda x: swap_labels(x, [(1, 2), (2, 3)]), "there twice"),
        (lambda x: keep_component(x, (19, 0, 0)), "shape"),
        (lambda x: keep_component(np.zeros_like(x), (0, 0, 0)), "background"),
        (lambda x: keep_component(x, (0, 0, 0), connectivity=4), "6, 18 or 26"),
        (lambda x: allowed(x, image=x), "give both or neither"),
        (lambda x: allowed(x, image=x, intensity=(3, 1)), "lower end first"),
        (lambda x: Edit((slice(0, 1),) * 3, x[:2, :1, :1]), "for a box of shape"),
        (lambda x: Edit((slice(17, 20),) * 3, x[:3, :3, :3]).apply(x), "reaches out"),
        (lambda x: Edit((slice(0, 1),) * 3, x[:1, :1, :1]).apply(x.astype(int)), "made for uint8"),
    ],
)
def test_a_wrong_call_is_refused_with_the_cure(labels, call, says):
    with pytest.raises(UsageError, match=says):
        call(labels)
