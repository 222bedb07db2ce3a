"""Places of slices, from headers made by hand: all corners within 0.01 mm of their own header, or a name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.io.dicom.geometry import Stack, stack
from medseg.io.dicom.objects import Frame

ALL = frozenset({"missing-slices", "uneven-spacing"})
FLIP = np.array([-1.0, -1.0, 1.0])
Shuffle = Callable[[list[Frame]], list[Frame]]


def _worst_corner(placed: Stack) -> float:
    """The farthest that the affine puts a corner from where DICOM's own equation (C.7.6.2.1-1) does."""
    assert placed.affine is not None
    worst = 0.0
    for k, frame in enumerate(placed.frames):
        plane = k if placed.planes is None else placed.planes[k]
        for c, r in product((0, frame.columns - 1), (0, frame.rows - 1)):
            own = frame.position + c * frame.pixel_spacing[1] * frame.row
            own = (own + r * frame.pixel_spacing[0] * frame.column) * FLIP
            there = placed.affine @ (c, r, plane, 1)
            worst = max(worst, float(np.linalg.norm(there[:3] - own)))
    return worst


def _codes(frames: list[Frame], allow: frozenset[str] = frozenset()) -> tuple[str, ...]:
    return tuple(fault.code for fault in stack(frames, allow).faults)


def _turned(vector: np.ndarray, angle: float, axis: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    axis = axis / np.linalg.norm(axis)
    cosine, sine = np.cos(angle), np.sin(angle)
    return vector * cosine + np.cross(axis, vector) * sine + axis * (axis @ vector) * (1 - cosine)


AXES = [np.eye(3)[a] * s for a in range(3) for s in (1, -1)]


@pytest.mark.parametrize(
    ("row", "column"), [(a, b) for a, b in product(AXES, AXES) if abs(a @ b) == 0], ids=str
)
def test_positions_alone_decide_in_every_orientation(
    make: Any, shuffled: Shuffle, row: Any, column: Any
) -> None:
    for sign in (1, -1):
        start, normal = np.array([3.0, -200.5, 17.25]), np.cross(row, column)
        places = [start + sign * 2.5 * n * normal for n in range(5)]
        frames = [make.frame(row=row, column=column, position=place) for place in places]
        placed = stack(shuffled(frames))
        assert not placed.faults
        assert _worst_corner(placed) < 1e-9
        steps = [f.position @ np.cross(row, column) for f in placed.frames]
        assert np.diff(steps) == pytest.approx(2.5)


def test_an_oblique_stack_is_exact(make: Any, shuffled: Shuffle) -> None:
    placed = stack(shuffled(make.stack(0, 2.5, 5, 7.5, 10)))
    assert not placed.faults
    assert placed.shape == (7, 5, 5)
    assert _worst_corner(placed) < 1e-9


@given(
    depths=st.lists(st.floats(0, 60), min_size=2, max_size=8),
    jitter=st.floats(0, 0.02),
    drift=st.floats(0, 5e-3),
    stretch=st.floats(0, 5e-3),
    tilt=st.floats(-0.4, 0.4),
    allow=st.sampled_from([frozenset(), frozenset({"missing-slices"}), frozenset({"uneven-spacing"}), ALL]),
)
def test_no_corner_is_ever_a_hundredth_of_a_millimetre_off(
    make: Any,
    depths: list[float],
    jitter: float,
    drift: float,
    stretch: float,
    tilt: float,
    allow: frozenset[str],
) -> None:
    frames = []
    for n, depth in enumerate(depths):
        usual = make.frame()
        axis, sign = np.array([0.3, 0.5, -0.7]), (-1) ** n
        frames.append(
            make.frame(
                depth,
                position=usual.position + depth * (np.cross(usual.row, usual.column) + tilt * usual.column)
                + sign * jitter * usual.row,
                row=_turned(usual.row, sign * drift, axis),
                column=_turned(usual.column, sign * drift, axis),
                pixel_spacing=(0.75 + sign * stretch, 1.25),
            )
        )  # fmt: skip
    placed = stack(frames, allow)
    if not placed.faults:
        assert _worst_corner(placed) <= 0.01 + 1e-6
        assert placed.planes is None or allow


@pytest.mark.parametrize("allow", [frozenset(), ALL])
@pytest.mark.parametrize(
    ("drift", "even"),
    [(0.0, True), (2e-4, True), (1e-3, False)],  # the far corner is 8 mm away
)
def test_a_drift_of_the_orientation_counts_at_the_corners(
    make: Any, drift: float, even: bool, allow: frozenset[str]
) -> None:
    row, column, axis = (
        np.array([0.96, 0.28, 0.0]),
        np.array([-0.224, 0.768, 0.6]),
        np.array([0.3, -0.9, 0.2]),
    )
    frames = [
        make.frame(2.5 * n, row=_turned(row, drift * n, axis), column=_turned(column, drift * n, axis))
        for n in range(5)
    ]
    placed = stack(frames, allow)
    assert not placed.faults if even else placed.faults[0].code == "several-orientations"


def test_one_part_in_ten_thousand_matters_in_a_large_matrix(make: Any) -> None:
    turned = _turned(np.array([0.96, 0.28, 0.0]), 1e-4, np.cross([0.96, 0.28, 0.0], [-0.224, 0.768, 0.6]))
    frames = [make.frame(2.5 * n, rows=512, columns=512) for n in range(4)]
    frames.append(make.frame(10, rows=512, columns=512, row=turned))
    assert _codes(frames) == ("several-orientations",)


@pytest.mark.parametrize(
    ("depths", "codes"),
    [
        ((0, 5, 10, 20), ("missing-slices",)),
        ((0, 10, 20, 25, 45), ("missing-slices",)),
        ((0, 5, 10, 16.5), ("uneven-spacing",)),
        ((0, 1, 2, 3.05), ("uneven-spacing",)),
        ((0, 5, 10.03, 20.03), ("missing-slices", "uneven-spacing")),
        ((0, 0, 0, 0), ("repeated-positions",)),
        ((0, 5, 5, 10), ("repeated-positions",)),
        ((0, 5, 10, 0, 5, 10), ("four-dimensional",)),
    ],
)
def test_slices_that_make_no_even_stack_have_a_name(
    make: Any, shuffled: Shuffle, depths: tuple[float, ...], codes: tuple[str, ...]
) -> None:
    assert _codes(shuffled(make.stack(*depths))) == codes


@pytest.mark.parametrize(
    ("depths", "planes"),
    [
        ((0, 5, 10, 20), [0, 1, 2, 4]),
        ((0, 10, 15, 30, 35), [0, 2, 3, 6, 7]),
        ((0, 2.504, 4.997, 10.003), [0, 1, 2, 4]),
    ],
)
@pytest.mark.parametrize("tilt", [0.0, 0.33])
def test_missing_slices_leave_the_others_where_they_are(
    make: Any, shuffled: Shuffle, depths: tuple[float, ...], planes: list[int], tilt: float
) -> None:
    usual = make.frame()
    step = np.cross(usual.row, usual.column) + tilt * usual.column
    placed = stack(shuffled(make.stack(*depths, along=step)), frozenset({"missing-slices"}))
    assert placed.planes.tolist() == planes
    assert placed.count == planes[-1] + 1 == placed.shape[2]
    assert placed.verdict.codes == ("missing-slices",)
    assert _worst_corner(placed) <= 0.01


@pytest.mark.parametrize("tilt", [0.0, 0.33])
def test_uneven_slices_lie_between_the_planes_of_the_smallest_gap(make: Any, tilt: float) -> None:
    usual = make.frame()
    step = np.cross(usual.row, usual.column) + tilt * usual.column
    depths = (0, 1.08, 5.3, 12.3, 19.3)
    assert _codes(make.stack(*depths, along=step))[0] == "uneven-spacing"
    placed = stack(make.stack(*depths, along=step), frozenset({"uneven-spacing"}))
    assert placed.verdict.status == "repaired"
    assert placed.count == 19  # 19.3 / 1.08 = 17.9 intervals at least
    assert placed.planes == pytest.approx(np.array(depths) / 19.3 * 18)
    assert _worst_corner(placed) < 1e-9


def test_a_repair_permitted_is_not_another_one(make: Any) -> None:
    assert _codes(make.stack(0, 5, 10, 20), frozenset({"uneven-spacing"})) == ("missing-slices",)
    assert _codes(make.stack(0, 5, 10, 16.5), frozenset({"missing-slices"})) == ("uneven-spacing",)
    both = make.stack(0, 5, 10.03, 20.03)
    assert _codes(both, frozenset({"missing-slices"})) == ("missing-slices", "uneven-spacing")
    assert _codes(both, ALL) == ()


@pytest.mark.parametrize(
    ("depths", "code"), [((0, 5, 5000), "missing-slices"), ((0, 0.9, 30.25), "uneven-spacing")]
)
def test_a_repair_that_would_invent_most_of_the_scan_is_refused(
    make: Any, depths: tuple[float, ...], code: str
) -> None:
    assert _codes(make.stack(*depths), ALL)[0] == code


def test_a_tilt_is_named_beside_other_faults(make: Any) -> None:
    usual = make.frame()
    step = np.cross(usual.row, usual.column) + 0.3 * usual.column
    assert _codes(make.stack(0, 1, 2.5, 6.1, along=step)) == ("uneven-spacing", "tilt")
    assert not _codes(make.stack(0, 1, 2, 3, along=step))


def test_slices_shifted_in_their_planes_are_refused_whatever_is_allowed(make: Any) -> None:
    frames = make.stack(0, 5, 10, 15)
    frames[1] = make.frame(5, position=frames[1].position + 0.02 * frames[1].row)
    assert _codes(frames, ALL) == ("uneven-positions",)
    uneven = make.stack(0, 5, 10, 16.5)
    uneven[1] = frames[1]
    assert _codes(uneven, ALL) == ("uneven-spacing", "uneven-positions")


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        ({"row": None, "column": None}, "no-position"),
        ({"position": None}, "no-position"),
        ({"pixel_spacing": None}, "no-position"),
        ({"pixel_spacing": (0.0, 0.0)}, "bad-header"),
        ({"pixel_spacing": (0.75, -1.25)}, "bad-header"),
        ({"pixel_spacing": (0.75, float("nan"))}, "bad-header"),
        ({"position": np.array([1e30, 0, 0])}, "bad-header"),
        ({"position": np.array([0, np.nan, 0])}, "bad-header"),
        ({"column": np.array([0.96, 0.28, 0.0])}, "bad-header"),
        ({"row": np.array([0.0, 0.0, 0.0])}, "bad-header"),
        ({"row": np.array([1.92, 0.56, 0.0])}, "bad-header"),
        ({"row": np.array([np.nan, 0.0, 0.0])}, "bad-header"),
        ({"row": np.array([1.0, 0.0, 0.0]), "column": np.array([0.0, 1.0, 0.0])}, "several-orientations"),
        ({"row": np.array([-0.96, -0.28, 0.0])}, "several-orientations"),
        ({"pixel_spacing": (0.75, 1.3)}, "several-spacings"),
        ({"frame_of_reference": "1.6"}, "several-frames-of-reference"),
        ({"rows": 7, "columns": 5}, "several-matrices"),
        ({"slope": float("nan")}, "bad-header"),
        ({"has_lookup_table": True}, "lookup-table"),
        ({"samples": 3, "photometric": "RGB"}, "colour"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer"),
    ],
)
def test_one_odd_slice_refuses_the_stack(make: Any, odd: dict[str, Any], code: str) -> None:
    frames = [*make.stack(0, 5, 10), make.frame(15, **odd), make.frame(20)]
    assert _codes(frames, ALL) == (code,)


def test_cosines_of_few_digits_are_refused_where_a_corner_becomes_uncertain(make: Any) -> None:
    coarse = {"row": np.array([0.9600, 0.2802, 0.0]), "column": np.round([-0.224, 0.768, 0.6], 3)}
    assert not _codes(make.stack(0, 5, 10, **coarse))
    assert _codes(make.stack(0, 5, 10, rows=512, columns=512, **coarse)) == ("bad-header",)


def test_far_positions_are_exact(make: Any) -> None:
    far = np.array([1e6, -1e6, 5e5])
    frames = [
        make.frame(n, position=far + 2.5 * n * np.cross(f.row, f.column))
        for n in range(4)
        for f in [make.frame()]
    ]
    placed = stack(frames)
    assert not placed.faults
    assert _worst_corner(placed) < 1e-6


def test_one_slice_has_the_thickness_of_its_header_or_none(make: Any) -> None:
    placed = stack([make.frame(thickness=3.5)])
    assert np.linalg.norm(placed.affine[:3, 2]) == pytest.approx(3.5)
    assert placed.verdict.codes == ("one-slice",)
    assert placed.spacing_known
    assert not stack([make.frame(thickness=None, step=None)]).spacing_known


def test_a_radiograph_is_a_plane(make: Any) -> None:
    nowhere = {"position": None, "row": None, "column": None}
    placed = stack([make.frame(**nowhere)])
    assert placed.is_2d
    assert placed.verdict.codes == ("orientation-unknown",)
    assert placed.affine.diagonal().tolist() == [-1.25, -0.75, 1, 1]
    assert not stack([make.frame(**nowhere, pixel_spacing=None)]).spacing_known
    assert _codes([make.frame(**nowhere), make.frame(**nowhere)]) == ("no-position",)


def test_a_slice_that_is_there_twice_is_a_copy(make: Any) -> None:
    frames = make.stack(0, 5, 10)
    assert _codes([*frames, make.frame(5, sop_uid=frames[1].image.sop_uid)]) == ("duplicate-slices",)
