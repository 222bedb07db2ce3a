"""Correcting without a window: coordinates, limits, strokes, scribbles, slices of interest."""

from __future__ import annotations

import json
from collections import namedtuple

import numpy as np
import pytest
from napari_medseg.correction.correcting import Place, begin, suggested_path
from napari_medseg.correction.interpolation_reason import why_not_interpolated
from napari_medseg.correction.limits import Limits
from napari_medseg.correction.scribbling import (
    accept_text,
    answer_edit,
    answered_labels,
    legend,
    seeds_of,
    voxel_changes,
    with_drawn,
    with_structure,
)
from napari_medseg.correction.session_scan import is_own, own_channel
from napari_medseg.correction.slices_of_interest import doubt_of_slices, next_unseen, next_unsure
from napari_medseg.correction.strokes import before_stroke, stroke_box
from napari_medseg.correction.tools import Job, free_id
from napari_medseg.layers import LayerGrid, image_layers, labels_layer
from napari_medseg.recovery.sessions import recover
from napari_medseg.scribble.scribbles import Answer

import medseg
from medseg.volume import Source

from .session_case import LABELS, SHAPE, label_map, oblique

_SAGITTAL = np.array(((0, 0, 3.0, -9), (0.7, 0, 0, 4), (0, -1.1, 0, 2), (0, 0, 0, 1)))


@pytest.fixture(autouse=True)
def sessions(tmp_path, monkeypatch):
    """Sessions lie in a folder of the test."""
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    return tmp_path / "sessions"


def _scan(paths=()):
    data = np.random.default_rng(3).normal(100, 20, (1, *SHAPE)).astype(np.float32)
    return medseg.Volume(data, medseg.Geometry(SHAPE, oblique()), Source(paths=tuple(paths)))


@pytest.fixture
def correction():
    """A case that is corrected, with a scan."""
    data, options, _ = labels_layer(label_map(), "case")
    made = begin(data, options, _scan(), ())
    yield made
    made.session.close(discard=True)


def _painted(data, box, mask, label):
    """A stroke as napari 0.9 tells of it, painted."""
    atom = namedtuple("Atom", "slice_key mask old_values new_value")(box, mask, data[box][mask].copy(), label)
    data[box][mask] = label
    return atom


@pytest.mark.parametrize("affine", [oblique(), _SAGITTAL], ids=["oblique", "sagittal"])
def test_places_of_the_layer_are_those_of_the_array(affine):
    geometry = medseg.Geometry(SHAPE, affine)
    grid = LayerGrid(geometry)
    numbers = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    layer = grid.to_layer(numbers)
    box = tuple(slice(1, size - 1 - n) for n, size in enumerate(layer.shape))
    np.testing.assert_array_equal(np.sort(numbers[grid.array_box(box)].ravel()), np.sort(layer[box].ravel()))
    indices = np.nonzero(numbers % 7 == 3)
    np.testing.assert_array_equal(layer[grid.layer_indices(indices)], numbers[indices])
    for place in np.ndindex(layer.shape):
        point = np.array(place) * grid.scale + grid.translate + 0.3 * np.array(grid.scale)
        assert numbers[grid.voxel(point)] == layer[place]
    for n, axis in enumerate(grid.axes):
        index = grid.voxel([grid.slice_coordinate(a, 2) if a == axis else t
                            for a, t in zip(grid.axes, grid.translate, strict=True)])  # fmt: skip
        assert index[axis] == 2, n


def test_a_layer_is_corrected_in_its_own_memory():
    labels = label_map()
    data, options, _ = labels_layer(labels, "case")
    correction = begin(data, options, None, ())
    assert np.shares_memory(correction.session.array, labels.data)
    data[0, 0, 0] = 200
    assert correction.session.sync(everything=True) == 1
    correction.session.close(discard=True)


def test_the_provenance_names_the_model_that_made_the_layer(tmp_path):
    data, options, _ = labels_layer(label_map(), "case")
    model = {"name": "hippocampus", "sha256": "ab" * 32}
    options["metadata"]["medseg"]["provenance"] = {"model": {**model, "precision": "f32"}}
    correction = begin(data, options, None, ())
    correction.session.close()  # nothing was edited: its folder goes
    correction = begin(data, options, None, ())
    data[0, 0, 0] = 1
    correction.session.sync(everything=True)
    correction.session.close()
    session = recover(correction.session.folder)
    session.save(tmp_path / "case_seg.nii.gz")
    session.close()
    assert json.loads((tmp_path / "case_seg.provenance.json").read_text(encoding="utf-8"))["model"] == model


@pytest.mark.parametrize("how", ["int64", "read-only"])
def test_a_layer_that_cannot_be_edited_in_place_is_copied_once(how):
    data, options, _ = labels_layer(label_map(), "case")
    data = data.astype(np.int64) if how == "int64" else data.copy()
    data.flags.writeable = how != "read-only"
    correction = begin(data, options, None, ())
    np.testing.assert_array_equal(correction.layer_data, data)
    correction.layer_data[0, 0, 0] = 1
    assert correction.session.sync(everything=True) == 1
    correction.session.close(discard=True)


def test_a_foreign_layer_on_a_scan_begins_without_names(tmp_path):
    scan = _scan([tmp_path / "scan.nii.gz"])
    ((image, options, _),) = image_layers(scan, "scan")
    foreign = {"name": "Labels", "scale": options["scale"], "translate": options["translate"]}
    correction = begin(np.zeros(image.shape, np.uint8), foreign, scan, [options["metadata"]["medseg"]])
    assert correction.session.facts.geometry == scan.geometry
    assert correction.session.scan.files == (tmp_path / "scan.nii.gz",)
    assert correction.session.facts.labels_path is None
    assert suggested_path(correction.session) == tmp_path / "scan_seg.nii.gz"
    correction.session.close(discard=True)


def test_a_scan_on_another_grid_is_refused_and_leaves_no_session(sessions):
    data, options, _ = labels_layer(label_map(), "case")
    other = medseg.Volume(np.zeros((1, *SHAPE)), medseg.Geometry(SHAPE, _SAGITTAL))
    with pytest.raises(medseg.InputRefused, match="choose the scan that the labels belong to"):
        begin(data, options, other, ())
    assert not sessions.exists()


def test_a_series_is_saved_beside_its_folder(tmp_path):
    series = tuple(tmp_path / "series 3" / f"{n}.dcm" for n in range(3))
    data, options, _ = labels_layer(label_map(), "case")
    correction = begin(data, options, _scan(series), ())
    assert suggested_path(correction.session) == tmp_path / "series 3_seg.nii.gz"
    correction.session.close(discard=True)


def test_the_place_on_show_follows_the_slider_and_knows_the_way_onwards(correction):
    grid = correction.grid
    for n in range(3):
        first = correction.place(grid.translate, n)
        point = np.array(grid.translate)
        point[n] += grid.scale[n]
        assert correction.place(point, n) == Place(first.axis, first.index + first.onwards, first.onwards)
        point[n] -= 100 * grid.scale[n]
        assert correction.place(point, n) == first  # outside of the scan: the nearest slice


@pytest.mark.parametrize("form", ["indices", "boxes"])
def test_what_a_stroke_painted_over_is_known_in_both_forms_of_its_event(form):
    rng = np.random.default_rng(2)
    start = rng.integers(0, 4, (6, 8, 5)).astype(np.uint8)
    data, atoms = start.copy(), []
    for label, box in ((3, np.s_[1:2, 2:6, 0:4]), (1, np.s_[1:2, 4:8, 1:5])):
        mask = data[box] != label
        if form == "boxes":
            atoms.append(_painted(data, box, mask, label))
            continue
        places = tuple(
            n + side.start for n, side in zip(np.nonzero(mask), box, strict=True)
        )  # fmt: skip
        atoms.append((places, data[places].copy(), label))
        data[places] = label
    box = stroke_box(atoms)
    assert (data != start)[box].sum() == (data != start).sum()
    np.testing.assert_array_equal(before_stroke(data, atoms, box), start[box])


def test_a_stroke_stays_inside_every_limit_and_is_one_step(correction):
    session, grid = correction.session, correction.grid
    start = session.array.copy()
    region = np.random.default_rng(5).integers(0, 2, SHAPE)
    correction.limits = Limits(3, (80.0, 130.0), correction.image, region)
    layer = correction.layer_data
    session.begin_step()
    box = np.s_[1:4, 0:6, 2:9]
    atoms = [_painted(layer, box, layer[box] != 1, 1)]
    session.sync(everything=True)  # the session's thread may look in the middle of a stroke
    assert correction.finish_stroke(layer, atoms, layer.__setitem__)
    session.end_step()
    expected = start.copy()
    for voxel in np.ndindex(SHAPE):
        stroked = np.zeros_like(layer, bool)
        stroked[box] = True
        if (
            grid.to_array(stroked)[voxel]
            and start[voxel] == 3
            and 80 <= correction.image[voxel] <= 130
            and region[voxel]
        ):
            expected[voxel] = 1
    np.testing.assert_array_equal(session.array, expected)
    assert (expected != start).any()
    session.undo()
    np.testing.assert_array_equal(session.array, start)
    assert not session.can_undo


def test_the_threshold_brush_is_a_disc_in_mm_within_its_range(correction):
    spacing = np.array(correction.grid.geometry.spacing)
    limits = Limits(intensity=(90.0, 200.0), image=correction.image)
    start, layer = correction.session.array.copy(), correction.layer_data
    box, indices = correction.dab(3, (2, 3, 2), (6, 3, 2), 1.6, 2, "all", limits)
    assert (layer[indices] != 3).all()
    layer[indices] = 3
    for i, j, k in np.ndindex(SHAPE):
        along = min(max(i, 2), 6)
        near = k == 2 and np.linalg.norm(((i - along), (j - 3)) * spacing[:2]) <= 1.6
        painted = near and 90 <= correction.image[i, j, k] <= 200
        assert correction.session.array[i, j, k] == (3 if painted else start[i, j, k])
        assert not painted or all(one.start <= n < one.stop for n, one in zip((i, j, k), box, strict=True))


def test_an_answer_changes_its_structures_alone_and_keeps_to_its_box():
    labels = label_map(seed=4).data
    strokes = with_structure(legend(LABELS.labels, labels.dtype), 7, labels.dtype)
    assert [(one.value, one.label) for one in strokes] == [(255, 0), (1, 1), (3, 3), (200, 200), (7, 7)]
    box = (slice(2, 8), slice(1, 6), slice(0, 4))
    answered = np.random.default_rng(6).choice([1, 3, 5], (6, 5, 4)).astype(np.uint8)
    for over in ("background", "all"):
        after = labels.copy()
        edit = answer_edit(labels, Answer(answered, box, True), strokes, over=over)
        edit.apply(after)
        changes = {n: (np.sum(labels == n), np.sum(after == n)) for n in (1, 3, 7, 200)}
        assert voxel_changes(labels, edit, (3, 7)) == {
            n: (before, now) for n, (before, now) in changes.items() if n in (3, 7) or before != now
        }
        for voxel in np.ndindex(SHAPE):
            old, expected = labels[voxel], labels[voxel]
            if all(side.start <= n < side.stop for n, side in zip(voxel, box, strict=True)):
                said = {1: 0, 3: 3, 5: 7}[
                    answered[tuple(n - s.start for n, s in zip(voxel, box, strict=True))]
                ]
                if said and (old in (0, 3, 7) or over == "all"):
                    expected = said
                elif not said and old in (3, 7):
                    expected = 0
            assert after[voxel] == expected


def test_what_accept_will_do_is_said_of_each_structure():
    names = medseg.LabelSet.from_names({1: "Anterior", 2: "Posterior"})
    assert accept_text({1: (1851, 1796), 2: (1763, 830)}, names) == (
        "Accept: Anterior 1,851 to 1,796 voxels, Posterior 1,763 to 830. "
        "The answer takes the place of what is there; it is not added."
    )
    assert accept_text({7: (0, 12)}, names) == "Accept: label 7 0 to 12 voxels."


def test_strokes_have_the_numbers_of_their_labels_and_outside_one_that_no_label_has():
    names = medseg.LabelSet.from_names({2: "a", 255: "b"})
    strokes = legend(names.labels, np.dtype(np.uint8))
    assert [(one.value, one.label, one.name) for one in strokes] == [
        (254, 0, "outside"), (2, 2, "a"), (255, 255, "b"),
    ]  # fmt: skip
    added = with_structure(strokes, 254, np.dtype(np.uint8))[-1]
    assert (added.value, added.label) == (253, 254)  # 254 is drawn as outside already
    drawn = np.random.default_rng(1).choice([0, 2, 9, 254, 255], (4, 3, 5)).astype(np.uint8)
    strokes = with_drawn(strokes, drawn)  # 9 was chosen in the layer, not in the list
    seeds = seeds_of(drawn, strokes)
    np.testing.assert_array_equal(seeds == 0, drawn == 0)
    np.testing.assert_array_equal(seeds == 1, drawn == 254)
    answer = Answer(
        np.where(seeds == 0, 1, seeds).astype(np.uint8), (slice(0, 4), slice(0, 3), slice(0, 5)), True
    )
    expected = np.where(drawn == 254, 0, drawn)
    np.testing.assert_array_equal(answered_labels(answer, strokes, drawn.dtype), expected)
    with pytest.raises(medseg.UsageError, match="no stroke is inside a structure"):
        seeds_of(np.where(drawn == 254, drawn, 0).astype(np.uint8), strokes)


@pytest.mark.parametrize("affine", [oblique(), _SAGITTAL], ids=["oblique", "sagittal"])
def test_why_nothing_was_interpolated_is_told_in_the_numbers_of_the_slider(affine):
    labels = np.zeros(SHAPE, np.uint8)
    grid = LayerGrid(medseg.Geometry(SHAPE, affine))
    shown = grid.to_layer(labels)
    for n, plane in enumerate(("axial", "coronal", "sagittal")):
        labels[:] = 0
        np.moveaxis(shown, n, 0)[[1, 2]] = 3
        np.moveaxis(shown, n, 0)[0, 1:, 1:] = 1
        job = Job(labels, grid.geometry.spacing, 3, grid.axes[n], 0)
        assert why_not_interpolated(job, grid, LABELS) == (
            f"Needs two or more {plane} slices with label 3 (oedema) and empty ones between; "
            "found slices 1, 2."
        )
        one = Job(labels, grid.geometry.spacing, 1, grid.axes[n], 0)
        assert why_not_interpolated(one, grid, LABELS).endswith("found slice 0.")


def test_a_session_knows_its_scan_again_by_its_voxels_in_any_memory(correction):
    scan, known, grid = _scan(), correction.session.scan, correction.grid.geometry
    ((_, options, _),) = image_layers(scan, "scan")
    own, kept = scan.data[0], options["metadata"]
    assert is_own(kept, np.asfortranarray(own), known, grid)
    assert is_own(kept, np.ascontiguousarray(own[::-1])[::-1], known, grid)
    assert own_channel(medseg.Volume(np.concatenate([scan.data + 1, scan.data]), scan.geometry), known) == 1
    for other in (own + np.eye(*SHAPE[:2], dtype=own.dtype)[..., None], own.astype(np.float64)):
        assert not is_own(kept, other, known, grid)
    shifted = medseg.Volume(scan.data, medseg.Geometry(SHAPE, _SAGITTAL))
    ((_, elsewhere, _),) = image_layers(shifted, "scan")
    assert not is_own(elsewhere["metadata"], own, known, grid)


def test_unseen_slices_are_those_with_labels_and_their_neighbours_in_order():
    labels = np.zeros((3, 4, 12), np.uint8)
    labels[1, 1, [4, 5, 9]] = 2
    seen, way, here = {5}, [], 5
    while (found := next_unseen(labels, 2, here, seen)) is not None:
        way.append(here := found)
        seen.add(found)
    assert way == [6, 8, 9, 10, 3, 4]


def test_the_slice_of_most_doubt_comes_first():
    rng = np.random.default_rng(0)
    shares = rng.random((4, 5, 6))
    doubt = doubt_of_slices(shares, 1, "probability")
    np.testing.assert_allclose(doubt, [(1 - abs(2 * shares[:, n] - 1)).sum() for n in range(5)])
    here, order, seen = int(np.argmin(doubt)), [], set()
    while (found := next_unsure(doubt, here, seen)) is not None:
        order.append(found)
        seen.add(found)
    assert order == np.argsort(-doubt)[:-1].tolist()
    with pytest.raises(medseg.UsageError, match="expected 0 to 1"):
        doubt_of_slices(shares * 3, 1, "probability")
    assert next_unsure(doubt_of_slices(np.full((2, 2, 2), np.nan), 0, "doubt"), 0, ()) is None


def test_a_free_id_is_above_all_names_and_all_paint_and_may_be_used_up():
    labels = np.array([[[0, 9]]], np.uint8)
    assert free_id(labels, medseg.LabelSet.from_names({4: "a"})) == 10
    assert free_id(labels, medseg.LabelSet.from_names({40: "a"})) == 41
    with pytest.raises(medseg.UsageError, match="no id above 255"):
        free_id(labels, medseg.LabelSet.from_names({255: "a"}))
