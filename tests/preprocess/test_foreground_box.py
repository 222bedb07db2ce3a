"""The box of a scan's foreground: against a brute-force look at every block, and against cutting tissue."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import correlate, generate_binary_structure

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.plans import Plan
from medseg.preprocess import cropped, foreground_box
from medseg.volume import Volume

Box = tuple[slice, slice, slice]
MR = {"normalisation": "range"}
HEAD = {"normalisation": "range", "low": -20.0, "high": 110.0}


def plan_of(*channels: dict[str, Any], crop: dict[str, Any] | None = None) -> Plan:
    return Plan.checked(
        {
            "name": "toy",
            "dimensions": 3,
            "channels": [{"name": f"c{n}", **channel} for n, channel in enumerate(channels)],
            "labels": [{"id": 1, "name": "part", "colour": (1, 2, 3)}],
            "patch": (8, 8, 8),
            "network": {"strides": ((1,) * 3,) * 3, "features": (1, 1, 1), "deep_supervision": 0},
            "inference": {"crop": {} if crop is None else crop},
        }
    )


def oblique(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Geometry:
    """An LPS-like grid whose axes are permuted and turned by 20 degrees."""
    a = np.deg2rad(20)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag([-1.0, -1.0, 1.0]))[:, [2, 0, 1]] @ np.diag(spacing)
    affine[:3, 3] = (30.0, -12.0, 55.5)
    return Geometry(shape, affine)


def brute_force(
    values: NDArray[Any], spacing: tuple[float, ...], above: float, margin_mm: float
) -> Box | None:
    """The rule, block by block and voxel by voxel, in double precision."""
    low, high = np.percentile(values.astype(np.float64), (0.5, 99.5))
    if low == high:
        return None
    threshold = low + above * (high - low)
    sizes = [min(n, max(1, int(np.rint(4 / mm)))) for n, mm in zip(values.shape, spacing, strict=True)]
    counts = [int(np.ceil(n / size)) for n, size in zip(values.shape, sizes, strict=True)]
    bright = np.zeros(counts, bool)
    for at in itertools.product(*map(range, counts)):
        block = values[tuple(slice(a * size, (a + 1) * size) for a, size in zip(at, sizes, strict=True))]
        mean = block.mean(dtype=np.float64)
        assume(abs(mean - threshold) > 1e-4 * max(1.0, abs(threshold)))  # single and double may disagree
        bright[at] = mean > threshold
    six = generate_binary_structure(3, 1).astype(int)
    six[1, 1, 1] = 0
    for axis, count in enumerate(counts):
        if count == 1:  # nothing lies beside a block along this axis
            six[tuple(slice(None) if a != axis else (0, 2) for a in range(3))] = 0
    beside = correlate(bright.astype(int), six, mode="constant")
    bright &= beside >= min(2, sum(count > 1 for count in counts))
    if not bright.any():
        return None
    inside = np.zeros(values.shape, bool)
    for at in np.argwhere(bright):
        start = [a * size - np.ceil(margin_mm / mm) for a, size, mm in zip(at, sizes, spacing, strict=True)]
        stop = [
            (a + 1) * size + np.ceil(margin_mm / mm) for a, size, mm in zip(at, sizes, spacing, strict=True)
        ]
        inside[tuple(slice(max(0, int(a)), int(b)) for a, b in zip(start, stop, strict=True))] = True
    where = np.argwhere(inside)
    i, j, k = (slice(int(a), int(b) + 1) for a, b in zip(where.min(axis=0), where.max(axis=0), strict=True))
    return None if (i, j, k) == tuple(slice(0, n) for n in values.shape) else (i, j, k)


@settings(max_examples=150)
@given(
    shape=st.tuples(*[st.integers(1, 26)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.7, 1.0, 1.5, 2.6, 6.0])] * 3),
    share=st.floats(0, 0.6),
    above=st.sampled_from([0.05, 0.1, 0.4]),
    margin=st.sampled_from([0.0, 1.0, 5.0]),
    dtype=st.sampled_from([np.int16, np.uint8, np.float32, np.float64]),
    order=st.sampled_from("CF"),
    seed=st.integers(0, 2**16),
)
def test_the_box_is_that_of_the_rule(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    share: float,
    above: float,
    margin: float,
    dtype: type,
    order: Any,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.uniform(0, 8, shape)
    start = [int(generator.integers(0, n)) for n in shape]
    box = tuple(slice(s, s + max(1, round(share * n))) for s, n in zip(start, shape, strict=True))
    values[box] += 90
    values[tuple(int(generator.integers(0, n)) for n in shape)] = 200  # a speck
    values = np.asarray(values.astype(dtype), order=order)
    plan = plan_of(MR, crop={"above": above, "margin_mm": margin})
    expected = brute_force(values, spacing, above, margin)
    assert foreground_box(Volume(values[None], oblique(shape, spacing)), [plan]) == expected


@settings(max_examples=60)
@given(
    spacing=st.tuples(*[st.sampled_from([0.8, 1.0, 1.3, 2.0, 3.5, 6.0])] * 3),
    radii=st.tuples(*[st.floats(10, 22)] * 3),
    place=st.tuples(*[st.floats(-0.2, 1.2)] * 3),
    faint=st.floats(0.3, 1),
    seed=st.integers(0, 2**16),
)
def test_no_voxel_of_tissue_is_cut_wherever_it_lies(
    spacing: tuple[float, float, float],
    radii: tuple[float, float, float],
    place: tuple[float, float, float],
    faint: float,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    shape = tuple(int(n / mm) for n, mm in zip((88, 70, 96), spacing, strict=True))
    index = np.moveaxis(np.indices(shape), 0, -1)
    away = (index - np.array(place) * shape) * spacing / radii
    tissue = (away**2).sum(axis=-1) < 1
    assume(tissue.any())
    # Dim on one side as of a surface coil, and the noise of a magnitude image everywhere.
    signal = tissue * 1000 * np.where(away[..., 0] > 0, faint, 1)
    values = np.hypot(signal + generator.normal(0, 25, shape), generator.normal(0, 25, shape))
    box = foreground_box(Volume(values[None].astype(np.float32), oblique(shape, spacing)), [plan_of(MR)])
    left = tissue.copy()
    left[... if box is None else box] = False
    assert not left.any()


def head(shape: tuple[int, int, int] = (80, 90, 70)) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Distance of every voxel from a head's middle, and the head, off centre."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    away = np.linalg.norm((index - (34, 52, 30)) / (16, 22, 18), axis=-1)
    return away, away < 1


def test_the_box_is_tight_round_a_noisy_head_and_specks_do_not_widen_it() -> None:
    _, inside = head()
    generator = np.random.default_rng(0)
    values = np.hypot(
        inside * 800 + generator.normal(0, 20, inside.shape), generator.normal(0, 20, inside.shape)
    )
    values[2, 3, 4] = 4000  # one voxel
    values[72:76, 4:8, 60:64] = 900  # a block
    box = foreground_box(Volume(values[None], Geometry(inside.shape, np.eye(4))), [plan_of(MR)])
    assert box is not None
    where = np.argwhere(inside)
    for part, first, last in zip(box, where.min(axis=0), where.max(axis=0), strict=True):
        assert first - 8 - 4 < part.start <= first - 4
        assert last + 1 + 4 <= part.stop < last + 1 + 8 + 4


@pytest.mark.parametrize("surround", [-1000, -3024])
def test_ct_is_judged_after_its_clip_so_that_no_padding_and_no_metal_hides_the_brain(surround: int) -> None:
    away, inside = head()
    values = np.full(inside.shape, surround, np.int16)
    values[
        np.linalg.norm(np.indices(inside.shape)[:2] - np.array([40, 45])[:, None, None, None], axis=0) < 38
    ] = -1000
    values[inside] = 35
    values[inside & (away > 0.9)] = 900
    values[30:36, 50:56, 28:34] = 3071
    scan = Volume(values[None], oblique(inside.shape, (1.0, 1.0, 1.0)))
    box = foreground_box(scan, [plan_of(HEAD)])
    assert box is not None
    assert cropped(scan, box).data.size < 0.4 * scan.data.size
    inside[box] = False
    assert not inside.any()


def test_tissue_at_the_border_of_the_scan_is_kept_to_the_border() -> None:
    values = np.zeros((40, 50, 60), np.float32)
    values[0, 20:32, 24:40] = 100  # a single plane of tissue is left of what the scan missed
    values[0:12, 20:32, 24:40] = 100
    box = foreground_box(Volume(values[None], Geometry((40, 50, 60), np.eye(4))), [plan_of(MR)])
    assert box == (slice(0, 20), slice(12, 40), slice(16, 48))


@pytest.mark.parametrize(
    "kind", ["constant", "noise", "bright round dark", "nothing finite", "no rule", "one voxel"]
)
def test_all_of_a_scan_is_kept_where_no_foreground_stands_out(kind: str) -> None:
    _, inside = head()
    plan = plan_of(MR)
    values = np.zeros(inside.shape, np.float32)
    if kind == "noise":
        values = np.abs(np.random.default_rng(1).normal(0, 1, inside.shape)).astype(np.float32)
    elif kind == "bright round dark":
        values = np.where(inside, 100, 900).astype(np.float32)
    elif kind == "nothing finite":
        values[...] = np.nan
    elif kind == "no rule":
        values[inside] = 100
        plan = Plan.checked({**plan.model_dump(), "inference": {}})
    elif kind == "one voxel":
        values[3, 4, 5] = 100
    scan = Volume(values[None], Geometry(inside.shape, np.eye(4)))
    assert foreground_box(scan, [plan]) is None
    assert cropped(scan, None) is scan


def test_blocks_that_are_not_numbers_are_kept() -> None:
    _, inside = head()
    values = inside.astype(np.float32)
    values[70:78, 2:10, 60:68] = np.nan
    box = foreground_box(Volume(values[None], Geometry(inside.shape, np.eye(4))), [plan_of(MR)])
    assert box is not None
    assert box[0].stop == 80
    assert box[1].start == 0
    assert box[2].stop == 70


def test_channels_and_members_get_the_box_that_holds_all_of_theirs() -> None:
    values = np.zeros((2, 44, 44, 44), np.float32)
    values[0, 20:32, 20:32, 20:32] = 1
    values[1, 28:40, 24:28, 8:24] = 7
    scan = Volume(values, Geometry((44, 44, 44), np.eye(4)))
    near, far = plan_of(MR, MR, crop={"margin_mm": 0}), plan_of(MR, MR, crop={"margin_mm": 4})
    assert foreground_box(scan, [near]) == (slice(20, 40), slice(20, 32), slice(8, 32))
    assert foreground_box(scan, [near, far]) == (slice(16, 44), slice(16, 36), slice(4, 36))
    whole = Plan.checked({**near.model_dump(), "inference": {}})
    assert foreground_box(scan, [near, whole]) is None


def test_a_cropped_scan_keeps_its_voxels_where_they_were_in_the_world() -> None:
    shape = (30, 40, 20)
    scan = Volume(np.arange(24000, dtype=np.int32).reshape(1, *shape), oblique(shape, (0.9, 1.2, 2.5)))
    part = cropped(scan, (slice(4, 20), slice(7, 40), slice(3, 9)))
    assert np.shares_memory(part.data, scan.data)
    assert part.data[0, 2, 3, 4] == scan.data[0, 6, 10, 7]
    world = scan.geometry.affine @ (6, 10, 7, 1)
    np.testing.assert_allclose(part.geometry.affine @ (2, 3, 4, 1), world, atol=1e-9)


def test_a_picture_without_spacing_has_pixels_of_one_millimetre() -> None:
    values = np.zeros((1, 60, 50, 1), np.uint8)
    values[0, 20:32, 12:24] = 200
    flat = Geometry((60, 50, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True, spacing_known=False)
    plan = plan_of({"normalisation": "unit", "low": 0.0, "high": 255.0}).model_dump()
    plan |= {"dimensions": 2, "patch": (8, 8), "augmentation": {}}
    plan["network"]["strides"] = ((1, 1),) * 3
    scan = Volume(values, flat)
    box = foreground_box(scan, [Plan.checked(plan)])
    assert box == (slice(12, 40), slice(4, 32), slice(0, 1))
    assert cropped(scan, box).geometry.is_2d


def test_a_scan_that_does_not_fit_the_plan_is_refused_as_ever() -> None:
    scan = Volume(np.zeros((2, 6, 5, 4), np.float32), Geometry((6, 5, 4), np.eye(4)))
    with pytest.raises(InputRefused, match=r"2 channel.*needs 1"):
        foreground_box(scan, [plan_of(MR)])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("upwards", [True, False])
def test_only_so_much_from_the_top_is_kept_whichever_axis_is_superior(axis: int, upwards: bool) -> None:
    shape, spacing = (30, 30, 30), [4.0, 4.0, 4.0]
    spacing[axis] = 2.0
    order = [n for n in range(3) if n != axis]
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[2, axis] = spacing[axis] if upwards else -spacing[axis]
    affine[0, order[0]], affine[1, order[1]] = 4.0, 4.0
    data = np.full((1, *shape), 1.0, np.float32)
    data[0, 0] = data[0, -1] = data[0, :, 0] = data[0, :, -1] = data[0, :, :, 0] = data[0, :, :, -1] = 0.0
    plan = plan_of(MR, crop={"above": 0.1, "margin_mm": 0.0, "top_mm": 20.0})
    box = foreground_box(Volume(data, Geometry(shape, affine)), [plan])
    assert box is not None
    kept = box[axis]
    assert kept.stop - kept.start == 10  # 20 mm of 2 mm voxels
    world = [float((affine @ [*(n if a == axis else 0 for a in range(3)), 1])[2]) for n in range(30)]
    inside = [world[n] for n in range(kept.start, kept.stop)]
    assert max(inside) >= sorted(world)[-3]  # the superior end, but for the rim of zeros (in blocks of two)
