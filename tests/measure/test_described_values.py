"""What `describe` says of 2D images, of intensities, of several labels as one, and of what cannot be told."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.measure import Description, describe, measure, measure_columns
from medseg.plans import TotalSpec
from medseg.volume import LabelMap, Volume
from tests.measure.structures import OBLIQUE, ball, described, digest, scatter

NAMES = {2: "a", 5: "b", 300: "absent"}
BOTH = TotalSpec(name="both", labels=(2, 5))
SHAPE = (19, 14, 11)


def two_labels() -> LabelMap:
    data = np.zeros(SHAPE, np.uint16)
    data[ball(SHAPE, 5.2)] = 2
    data[scatter(SHAPE, 0.1, 3)] = 5
    return LabelMap(data, Geometry(SHAPE, OBLIQUE), LabelSet.from_names(NAMES))


def scan_of(data: NDArray[np.generic]) -> Volume:
    return Volume(data if data.ndim == 4 else data[None], Geometry(SHAPE, OBLIQUE))


def missing(description: Description) -> dict[str, str]:
    """Reasons, after a check that just those values are missing that have one."""
    assert {name for name, value in description.values.items() if value is None} == set(description.reasons)
    return dict(description.reasons)


class TestIntensities:
    @pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.float64])
    def test_statistics_are_those_of_numpy(self, kind: type[np.generic]) -> None:
        labelmap = two_labels()
        scan = np.random.default_rng(1).gamma(2, 20, SHAPE).astype(kind)
        for one in describe(labelmap, scan_of(scan))[:2]:
            inside = scan[labelmap.data == one.labels[0]].astype(np.float64)
            assert one.values["intensity_voxels"] == inside.size
            expected = {
                "mean": inside.mean(),
                "sd": inside.std(ddof=0),
                "median": np.median(inside),
                "min": inside.min(),
                "max": inside.max(),
                **{f"p{share:02}": np.percentile(inside, share) for share in (5, 25, 75, 95)},
            }
            for name, value in expected.items():
                assert one.values[f"intensity_{name}"] == pytest.approx(value, rel=1e-12), name

    def test_voxels_that_are_not_finite_are_left_out_and_counted(self) -> None:
        labelmap = two_labels()
        scan = np.random.default_rng(2).normal(0, 1, SHAPE)
        scan[::2], scan[1, 3, 4], scan[labelmap.data == 5] = np.nan, np.inf, -np.inf
        first, none_left, _ = describe(labelmap, scan_of(scan))
        inside = scan[(labelmap.data == 2) & np.isfinite(scan)]
        assert 0 < inside.size < first.values["voxels"]
        assert first.values["intensity_voxels"] == inside.size
        assert first.values["intensity_mean"] == pytest.approx(inside.mean(), rel=1e-12)
        assert not missing(first)
        assert none_left.values["intensity_voxels"] == 0
        assert set(missing(none_left).values()) == {"no voxel of it has a finite intensity"}

    def test_a_number_that_overflows_is_missing(self) -> None:
        scan = np.where(scatter(SHAPE, 0.5, 1), 1e200, -1e200)
        reasons = missing(describe(two_labels(), scan_of(scan))[0])
        assert reasons == {"intensity_sd": "its intensities are too large to be squared"}

    def test_further_channels_stand_under_their_names(self) -> None:
        scans = np.random.default_rng(4).normal(0, 1, (2, *SHAPE))
        labelmap = two_labels()
        both = describe(labelmap, scan_of(scans), channels=("t1", "flair"))[0].values
        for scan, suffix in zip(scans, ("", "_flair"), strict=True):
            alone = describe(labelmap, scan_of(scan))[0].values
            for name in ("voxels", "mean", "sd", "median", "max"):
                assert both[f"intensity_{name}{suffix}"] == alone[f"intensity_{name}"]
        wanted = [column.name for column in measure_columns(("t1", "flair"))]
        assert list(both) == [name for name in wanted if name not in ("area_mm2", "perimeter_mm")]

    @pytest.mark.parametrize("channels", [(), ("t1",), ("t1", "t2", "flair")])
    def test_names_that_do_not_fit_the_channels_are_refused(self, channels: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match=f"has 2 channels, found {len(channels)} names"):
            describe(two_labels(), scan_of(np.zeros((2, *SHAPE))), channels=channels)

    def test_a_scan_on_another_grid_is_refused(self) -> None:
        moved = OBLIQUE.copy()
        moved[0, 3] += 1
        with pytest.raises(ValueError, match="bring the scan onto the label map's grid"):
            describe(two_labels(), Volume(np.zeros((1, *SHAPE)), Geometry(SHAPE, moved)))


class TestMissing:
    def test_of_an_absent_label_only_volume_and_voxels_are_told(self) -> None:
        absent = describe(two_labels(), scan_of(np.zeros(SHAPE)))[2]
        told = {name: value for name, value in absent.values.items() if value is not None}
        assert told == {"volume_ml": 0.0, "voxels": 0, "touches_border": False}
        assert set(missing(absent).values()) == {"it was not found"}

    def test_without_a_scan_intensities_are_missing(self) -> None:
        reasons = missing(describe(two_labels())[0])
        assert set(reasons.values()) == {"no scan was given"}
        assert all(name.startswith("intensity_") for name in reasons)

    @pytest.mark.parametrize(
        ("size", "where", "axes"),
        [
            ((1, 1, 1), "in one point", {"major_axis_mm", "minor_axis_mm", "least_axis_mm"}),
            ((1, 4, 1), "on one line", {"minor_axis_mm", "least_axis_mm"}),
            ((3, 1, 4), "in one plane", {"least_axis_mm"}),
        ],
    )
    def test_axes_across_which_there_is_one_voxel_are_missing_not_zero(
        self, size: tuple[int, int, int], where: str, axes: set[str]
    ) -> None:
        mask = np.zeros(SHAPE, np.bool_)
        mask[tuple(slice(2, 2 + n) for n in size)] = True
        reasons = missing(described(mask, scan=np.ones(SHAPE)))
        ratios = {"flatness"} if where == "in one plane" else {"flatness", "elongation"}
        assert reasons == dict.fromkeys(axes | ratios, f"the centres of its voxels lie {where}")

    def test_where_the_size_of_a_voxel_is_unknown_counts_and_intensities_remain(self) -> None:
        mask = ball(SHAPE, 4)
        one = described(mask, scan=np.ones(SHAPE), spacing_known=False)
        told = {name for name, value in one.values.items() if value is not None}
        assert told == {
            *("voxels", "touches_border", "components", "largest_share"),
            *(f"box_{axis}_{end}" for axis, end in product("ijk", ("first", "last"))),
            *(name for name in one.values if name.startswith("intensity_")),
        }
        assert set(missing(one).values()) == {"the file does not tell the size of a voxel"}


class TestImages:
    """Of 2D images, whose pixels are 0.4 x 0.7 mm."""

    AFFINE = np.diag((-0.4, -0.7, 1.0, 1.0))

    def test_area_perimeter_axes_and_diameter_are_those_of_a_rectangle_with_bevelled_corners(self) -> None:
        mask = np.zeros((12, 9, 1), np.bool_)
        mask[3:10, 2:6] = True
        one = described(mask, self.AFFINE, scan=np.ones(mask.shape), is_2d=True)
        values = one.values
        assert values["area_mm2"] == pytest.approx(7 * 4 * 0.4 * 0.7, rel=1e-12)
        assert values["perimeter_mm"] == pytest.approx(
            2 * (6 * 0.4 + 3 * 0.7) + 2 * math.hypot(0.4, 0.7), rel=1e-12
        )
        spread = [4 * step * math.sqrt((n**2 - 1) / 12) for step, n in ((0.4, 7), (0.7, 4))]
        assert [values["major_axis_mm"], values["minor_axis_mm"]] == pytest.approx(sorted(spread)[::-1])
        assert values["elongation"] == pytest.approx(min(spread) / max(spread))
        corners = [
            (x + dx, y + dy)
            for x, y in product((-0.4 * 3, -0.4 * 9), (-0.7 * 2, -0.7 * 5))
            for dx, dy in ((0.2, 0), (-0.2, 0), (0, 0.35), (0, -0.35))
        ]
        assert values["max_diameter_mm"] == pytest.approx(pdist(np.array(corners)).max(), rel=1e-12)
        assert [values["extent_r_mm"], values["extent_a_mm"]] == pytest.approx([7 * 0.4, 4 * 0.7])
        assert [values["centroid_r_mm"], values["centroid_a_mm"]] == pytest.approx([-0.4 * 6, -0.7 * 3.5])
        assert missing(one) == dict.fromkeys(
            (
                *("volume_ml", "extent_s_mm", "centroid_s_mm", "surface_mm2", "mesh_volume_ml"),
                *("surface_to_volume_per_mm", "sphericity", "least_axis_mm", "flatness"),
            ),
            "a 2D image has no thickness",
        )

    def test_pixels_that_share_a_corner_are_one_component(self) -> None:
        mask = np.zeros((6, 6, 1), np.bool_)
        mask[[1, 2, 4], [1, 2, 1]] = True
        values = described(mask, self.AFFINE, is_2d=True).values
        assert (values["components"], values["largest_share"]) == (2, 2 / 3)

    def test_without_spacing_the_area_is_missing_for_that_reason(self) -> None:
        reasons = missing(described(ball((8, 7, 1), 3), self.AFFINE, is_2d=True, spacing_known=False))
        assert reasons["area_mm2"] == "the file does not tell the size of a voxel"
        assert reasons["volume_ml"] == "a 2D image has no thickness"


def test_a_total_is_measured_like_one_label_of_all_its_voxels() -> None:
    labelmap, scan = two_labels(), scan_of(np.random.default_rng(5).normal(0, 1, SHAPE))
    total = describe(labelmap, scan, totals=(BOTH,))[-1]
    assert (total.name, total.labels, total.is_total) == ("both", (2, 5), True)
    merged = LabelMap(
        (labelmap.data > 0).astype(np.uint8), labelmap.geometry, LabelSet.from_names({1: "both"})
    )
    assert total.values == describe(merged, scan)[0].values


def test_volume_voxels_and_border_are_those_of_measure() -> None:
    labelmap = two_labels()
    for one, plain in zip(describe(labelmap), measure(labelmap), strict=True):
        assert (one.name, one.labels) == (plain.name, (plain.id,))
        assert one.values["volume_ml"] == plain.volume_ml
        assert one.values["voxels"] == plain.voxels
        assert one.values["touches_border"] is plain.touches_border


def test_layout_and_type_of_the_arrays_change_no_bit() -> None:
    labelmap = two_labels()
    scan = np.random.default_rng(6).normal(100, 30, SHAPE).astype(np.float32)
    first = describe(labelmap, scan_of(scan), totals=(BOTH,))
    backwards = labelmap.data[::-1, :, ::-1].copy()[::-1, :, ::-1]
    for data, same_scan in (
        (np.asfortranarray(labelmap.data), np.asfortranarray(scan)),
        (backwards.astype(np.uint32), scan),
    ):
        other = LabelMap(data, labelmap.geometry, labelmap.labels)
        assert describe(other, scan_of(same_scan), totals=(BOTH,)) == first
    json.dumps([dict(one.values) for one in first], allow_nan=False)


def test_the_number_of_threads_changes_no_bit() -> None:
    alone = subprocess.run(
        [sys.executable, "-c", "from tests.measure.structures import digest; print(digest())"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert alone.stdout.strip() == digest()
