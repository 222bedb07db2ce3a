"""Strokes become regions: held against brute force and known shapes. No viewer, no napari."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from napari_medseg.scribble import scribbles
from napari_medseg.scribble.cells import Strokes, cell_means, cell_shape, factors_for, spread
from napari_medseg.scribble.random_walk import potential, walk_on
from napari_medseg.scribble.scribbles import region_of, segment_scribbles

import medseg

_SPACING = (0.8, 1.5, 2.5)


def _ball(shape, spacing, radius, noise=10.0, centre=(0.45, 0.5, 0.55)):
    """A bright ball in noise, and its voxels."""
    at = np.indices(shape) * np.reshape(spacing, (3, 1, 1, 1))
    middle = np.array(centre) * shape * spacing
    inside = np.linalg.norm(at - middle.reshape(3, 1, 1, 1), axis=0) < radius
    rng = np.random.default_rng(5)
    return (100.0 * inside + rng.normal(0, noise, shape)).astype(np.float32), inside


def _two_strokes(inside, label=2):
    """A line through the middle of a slice, and one outside of the shape on the same slice."""
    seeds = np.zeros(inside.shape, np.uint8)
    i, j, k = (int(line.mean()) for line in np.nonzero(inside))
    seeds[i - 3 : i + 4, j, k] = label
    seeds[2:-2, 1, k] = 1
    return seeds


def _final(image, seeds, spacing=_SPACING, **options):
    *_, answer = segment_scribbles(image, seeds, spacing, **options)
    assert answer.is_final
    return answer


def _dice(a, b):
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def ball():
    return _ball((44, 33, 22), _SPACING, 11.0)


def test_two_strokes_find_a_bright_ball_on_an_anisotropic_grid(ball):
    image, inside = ball
    answer = _final(image, _two_strokes(inside))
    assert _dice(answer.labels == 2, inside[answer.box]) > 0.95


def test_strokes_keep_their_label_even_where_the_image_speaks_against_it(ball):
    image, inside = ball
    seeds = _two_strokes(inside)
    seeds[3:9, 5, 3] = 2  # in the dark
    seeds[20, 14:19, 13] = 1  # in the ball
    answer = _final(image, seeds)
    marked = seeds[answer.box] > 0
    np.testing.assert_array_equal(answer.labels[marked], seeds[answer.box][marked])


def test_probabilities_solve_the_equations_of_the_walk():
    """Every neighbour written down by hand, and solved as a dense system."""
    shape, spacing, pull = (4, 6, 5), (0.8, 1.5, 2.5), 0.03
    rng = np.random.default_rng(1)
    grey = rng.random(shape).astype(np.float32)
    prior = rng.random(shape).astype(np.float32)
    marks = np.zeros(shape, int)
    marks[1, 2, 1:3], marks[3, 4, :] = 2, 1
    squares = np.concatenate([np.diff(grey, axis=axis).ravel() ** 2 for axis in range(3)])
    matrix, right = np.zeros((grey.size, grey.size)), np.zeros(grey.size)
    for x, at in enumerate(np.ndindex(shape)):
        matrix[x, x], right[x] = pull, pull * prior[at]
        if marks[at]:
            matrix[x, x], right[x] = 1, marks[at] == 2
            continue
        for axis in range(3):
            near = (0.8 / spacing[axis]) ** 2
            for way in (-1, 1):
                other = list(at)
                other[axis] += way
                if not 0 <= other[axis] < shape[axis]:
                    matrix[x, x] += 0.1 * near
                    continue
                difference = float(grey[at]) - float(grey[tuple(other)])
                weight = (np.exp(-2 * difference**2 / squares.mean()) + 1e-3) * near
                matrix[x, x] += weight
                matrix[x, np.ravel_multi_index(other, shape)] -= weight
    expected = np.linalg.solve(matrix, right)

    walk = walk_on(grey, marks == 0, spacing)
    known = (marks.ravel()[walk.neighbours] == 2).astype(np.float32)
    at_walk = prior.ravel()[walk.places]
    solved = potential(walk, known, at_walk, pull, at_walk, lambda: None)
    np.testing.assert_allclose(solved, expected[walk.places], atol=0.01)


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_turned_and_flipped_scans_give_the_same_region(ball, order):
    image, inside = ball
    seeds = _two_strokes(inside)
    plain = _final(image, seeds, box=tuple(slice(0, n) for n in image.shape)).labels

    def turned(array):
        return np.flip(array.transpose(order), (0, 2))

    spacing = tuple(_SPACING[axis] for axis in order)
    box = tuple(slice(0, image.shape[axis]) for axis in order)
    other = _final(turned(image), turned(seeds), spacing, box=box).labels
    assert np.mean(other == turned(plain)) > 0.999


def test_several_structures_with_gaps_in_their_numbers_keep_apart():
    left, first = _ball((50, 30, 24), _SPACING, 8.0, centre=(0.3, 0.5, 0.5))
    right, second = _ball((50, 30, 24), _SPACING, 8.0, centre=(0.7, 0.5, 0.5))
    seeds = np.maximum(_two_strokes(first, 3), _two_strokes(second, 7)).astype(np.uint16)
    answer = _final(left + 2 * right, seeds)
    assert answer.labels.dtype == np.uint16
    assert set(np.unique(answer.labels)) == {1, 3, 7}
    assert _dice(answer.labels == 3, first[answer.box]) > 0.9
    assert _dice(answer.labels == 7, second[answer.box]) > 0.9


def test_a_large_region_has_a_coarse_answer_and_a_final_one_close_to_the_whole_solution(ball, monkeypatch):
    image, inside = ball
    seeds = _two_strokes(inside)
    whole = _final(image, seeds)
    monkeypatch.setattr(scribbles, "_COARSE_CELLS", 2**12)
    coarse, final = segment_scribbles(image, seeds, _SPACING)
    assert not coarse.is_final
    assert coarse.labels.shape == final.labels.shape
    assert _dice(coarse.labels == 2, inside[coarse.box]) > 0.8
    assert _dice(final.labels == 2, whole.labels == 2) > 0.98


def test_memory_is_bounded_on_a_region_of_256_256_128():
    """It is 35 MB in the image's float32; the answer alone is 8 MB."""
    shape = (256, 256, 128)
    image, inside = _ball(shape, (1.0, 1.0, 1.0), 45.0)
    seeds = _two_strokes(inside)
    box = tuple(slice(0, n) for n in shape)
    tracemalloc.start()
    try:
        coarse, final = segment_scribbles(image, seeds, (1.0, 1.0, 1.0), box=box)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400e6
    assert not coarse.is_final
    assert _dice(final.labels == 2, inside) > 0.98


def test_once_cancelled_there_are_no_further_answers(ball):
    image, inside = ball
    asked = []

    def cancelled():
        asked.append(True)
        return len(asked) > 20

    assert list(segment_scribbles(image, _two_strokes(inside), _SPACING, cancelled=cancelled)) == []
    assert len(asked) == 21


def test_cancelling_between_the_answers_spares_the_final_one(ball, monkeypatch):
    image, inside = ball
    monkeypatch.setattr(scribbles, "_COARSE_CELLS", 2**12)
    wanted = [True]
    answers = segment_scribbles(image, _two_strokes(inside), _SPACING, cancelled=lambda: not wanted[0])
    assert not next(answers).is_final
    wanted[0] = False
    assert list(answers) == []


def test_without_an_outside_stroke_the_faces_of_the_region_are_outside(ball):
    image, inside = ball
    seeds = _two_strokes(inside)
    seeds[seeds == 1] = 0
    answer = _final(image, seeds)
    assert _dice(answer.labels == 2, inside[answer.box]) > 0.9


def test_voxels_that_are_not_finite_count_as_dark(ball):
    image, inside = ball
    seeds = _two_strokes(inside)
    holed = image.copy()
    holed[:4], holed[-1, -1, -1], holed[-2, -1, -1] = np.nan, np.inf, -np.inf
    answer = _final(holed, seeds)
    assert _dice(answer.labels == 2, inside[answer.box]) > 0.95
    assert _final(np.full_like(image, np.nan), seeds).labels.min() == 1


def test_in_a_constant_image_nearness_to_strokes_decides():
    seeds = np.zeros((21, 12, 9), np.uint8)
    seeds[3, 2:10, 2:7], seeds[17, 2:10, 2:7] = 2, 1
    labels = _final(np.full(seeds.shape, 7, np.int16), seeds).labels
    assert (labels[4, 5:7, 4] == 2).all()
    assert (labels[12:17] == 1).all()


def test_a_picture_of_one_slice_is_segmented(ball):
    image, inside = (array[:, :, 12:13] for array in ball)
    answer = _final(image, _two_strokes(inside))
    assert _dice(answer.labels == 2, inside[answer.box]) > 0.95


def test_a_region_that_is_all_strokes_is_what_they_say():
    seeds = np.full((3, 4, 5), 1, np.uint8)
    seeds[1] = 2
    np.testing.assert_array_equal(_final(np.zeros(seeds.shape), seeds).labels, seeds)


def test_a_piece_that_no_stroke_touches_is_outside():
    image, inside = _ball((50, 30, 24), _SPACING, 8.0, centre=(0.3, 0.5, 0.5))
    other, twin = _ball((50, 30, 24), _SPACING, 6.0, centre=(0.75, 0.5, 0.5))
    box = tuple(slice(0, n) for n in image.shape)
    labels = _final(image + other, _two_strokes(inside), box=box).labels
    assert not (labels[twin] == 2).any()


def test_the_region_reaches_as_far_around_the_strokes_as_they_do():
    seeds = np.zeros((90, 60, 40), np.uint8)
    seeds[40:60, 30, 20] = 2  # 16 mm
    assert region_of(seeds, _SPACING) == (slice(20, 80), slice(19, 42), slice(13, 28))
    assert region_of(np.zeros_like(seeds), _SPACING) == (slice(0, 90), slice(0, 60), slice(0, 40))


def test_what_cannot_be_segmented_is_refused_with_the_cure(ball):
    image, inside = ball
    seeds = _two_strokes(inside)
    with pytest.raises(medseg.UsageError, match="draw one, of a value of 2 or more"):
        segment_scribbles(image, np.where(seeds == 2, 0, seeds), _SPACING)
    with pytest.raises(medseg.UsageError, match=r"\(44, 33, 22\).*\(43, 33, 22\)"):
        segment_scribbles(image, seeds[1:], _SPACING)
    with pytest.raises(medseg.UsageError, match="unsigned"):
        segment_scribbles(image, seeds.astype(np.int32), _SPACING)
    with pytest.raises(medseg.UsageError, match="positive"):
        segment_scribbles(image, seeds, (1.0, 0.0, 1.0))


def test_cells_hold_the_mean_of_their_voxels_and_the_most_frequent_mark():
    shape, factors = (7, 6, 5), (2, 4, 1)
    rng = np.random.default_rng(2)
    array = rng.random(shape).astype(np.float32)
    marks = rng.integers(0, 4, shape).astype(np.uint8)
    means, found = cell_means(array, factors), Strokes.of(marks).on(factors)
    assert means.shape == found.shape == cell_shape(shape, factors) == (4, 2, 5)
    for i, j, k in np.ndindex(4, 2, 5):
        voxels = np.s_[2 * i : 2 * i + 2, 4 * j : 4 * j + 4, k]
        assert means[i, j, k] == pytest.approx(array[voxels].mean(), abs=1e-6)
        counts = [np.sum(marks[voxels] == n) for n in (1, 2, 3)]
        assert found[i, j, k] == (1 + np.argmax(counts) if any(counts) else 0)
        assert (spread(means, factors, shape)[voxels] == means[i, j, k]).all()


def test_cells_are_nearly_cubes():
    assert factors_for((256, 256, 128), (1.0, 1.0, 1.0), 2**20) == (2, 2, 2)
    assert factors_for((512, 512, 40), (0.5, 0.5, 3.0), 2**20) == (4, 4, 1)
