"""The pictures themselves: read back as pixels, and what they may not contain."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.geometry import Geometry
from medseg.labels import Label, LabelSet
from medseg.measure import measure
from medseg.report.drawing import display_window, without_specks
from medseg.report.overlays import choose_cases
from medseg.report.preview import preview_png
from medseg.report.training import curves_png, overlays_png
from medseg.volume import LabelMap, Source, Volume

_PURE_RED = LabelSet((Label(1, "marked", (255, 0, 0)), Label(7, "other", (0, 0, 255))))


def _pixels(path):
    """(rows, columns, 3) as integers that may be subtracted."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def _reddish(path):
    """Boolean picture of where the red label's outline or fill is."""
    pixels = _pixels(path)
    return (pixels[..., 0] - pixels[..., 1] > 60) & (pixels[..., 0] - pixels[..., 2] > 60)


def _scan(shape=(40, 30, 1), affine=None, box=(slice(24, 38), slice(17, 28), slice(0, 1)), seed=0):
    """Noise with a box of label 1; RAS, centred, so that the box lies right, anterior of the middle."""
    if affine is None:
        affine = np.diag((1.0, 1.0, 1.0, 1.0))
        affine[:3, 3] = -(np.array(shape) - 1) / 2
    geometry = Geometry(shape, affine)
    data = np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[box] = 1
    return Volume(data[None], geometry), LabelMap(labels, geometry, _PURE_RED)


def _stored_as(volume, labelmap, axes, flips):
    def turn(data):
        return np.flip(data.transpose(axes), np.flatnonzero(flips))

    geometry = volume.geometry.permuted(axes, flips)
    return Volume(turn(volume.data[0])[None], geometry), LabelMap(
        turn(labelmap.data), geometry, labelmap.labels
    )


@pytest.mark.parametrize("flips", [(False, True, False), (True, True, True)])
@pytest.mark.parametrize("axes", list(permutations(range(3)))[::2])
def test_a_structure_on_the_patients_right_is_drawn_on_the_left(tmp_path, axes, flips):
    preview_png(*_stored_as(*_scan(), axes, flips), None, tmp_path / "p.png", title="")
    red = _reddish(tmp_path / "p.png")
    rows, columns = np.nonzero(red[: int(red.shape[0] * 0.9)])  # the legend's square lies below
    assert columns.max() < red.shape[1] / 2
    assert rows.max() < red.shape[0] / 2


def test_the_picture_does_not_depend_on_how_the_scan_is_stored(tmp_path):
    scan = _scan((21, 26, 17), box=(slice(8, 15), slice(9, 20), slice(5, 12)))
    preview_png(*scan, None, tmp_path / "a.png", title="t")
    preview_png(*_stored_as(*scan, (2, 0, 1), (True, False, True)), None, tmp_path / "b.png", title="t")
    a, b = (_pixels(tmp_path / name) for name in ("a.png", "b.png"))
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 2


def test_a_square_in_millimetres_is_drawn_square(tmp_path):
    affine = np.array(((1.0, 0, 0, 0), (0, 0, 1, 0), (0, 4, 0, 0), (0, 0, 0, 1)))  # coronal, 4 mm rows
    scan = _scan((60, 15, 1), affine, box=(slice(20, 40), slice(5, 10), slice(0, 1)))  # 20 x 20 mm
    preview_png(*scan, None, tmp_path / "p.png", title="")
    red = _reddish(tmp_path / "p.png")
    rows, columns = np.nonzero(red[: int(red.shape[0] * 0.9)])
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.05)
    assert np.ptp(rows) > 100  # small scans are enlarged


def test_a_small_structure_in_a_large_scan_is_shown_close_up(tmp_path):
    scan = _scan((300, 260, 1), box=(slice(200, 212), slice(100, 112), slice(0, 1)))
    preview_png(*scan, None, tmp_path / "p.png", title="")
    red = _reddish(tmp_path / "p.png")
    rows, _ = np.nonzero(red[: int(red.shape[0] * 0.9)])
    assert np.ptp(rows) > 0.25 * red.shape[0]


def test_an_empty_segmentation_says_so(tmp_path):
    volume, labelmap = _scan((12, 14, 9), box=(slice(0), slice(0), slice(0)))
    preview_png(volume, labelmap, None, tmp_path / "p.png")
    pixels = _pixels(tmp_path / "p.png")
    amber = (np.abs(pixels - (0xFF, 0xB4, 0x54)) < 30).all(axis=-1)
    assert amber[int(0.85 * len(amber)) :].sum() > 100
    assert not amber[: int(0.8 * len(amber))].any()


def test_a_picture_is_one_pane_as_it_is_stored(tmp_path):
    geometry = Geometry((40, 30, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    labels = np.zeros((40, 30, 1), np.uint8)
    labels[:14, :11] = 1  # left columns, upper rows
    volume = Volume(np.ones((1, 40, 30, 1), np.uint8), geometry, Source((tmp_path / "x.png",), "image"))
    preview_png(volume, LabelMap(labels, geometry, _PURE_RED), None, tmp_path / "p.png")
    red = _reddish(tmp_path / "p.png")
    rows, columns = np.nonzero(red[: int(red.shape[0] * 0.9)])
    assert columns.max() < red.shape[1] / 2
    assert rows.max() < red.shape[0] / 2


def test_measurements_given_are_the_ones_written(tmp_path):
    volume, labelmap = _scan()
    preview_png(volume, labelmap, None, tmp_path / "a.png", title="t")
    preview_png(volume, labelmap, measure(labelmap), tmp_path / "b.png", title="t")
    other = [replace(m, volume_ml=123.0) for m in measure(labelmap)]
    preview_png(volume, labelmap, other, tmp_path / "c.png", title="t")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_names_with_dollars_and_great_length_are_drawn(tmp_path):
    volume, labelmap = _scan()
    odd = LabelSet(
        (Label(1, "cost $x_{1$ and " + "very " * 30 + "long", (255, 0, 0)), Label(7, "b", (0, 0, 255)))
    )
    preview_png(volume, replace(labelmap, labels=odd), None, tmp_path / "p.png", title="$\\frac " + "t" * 300)
    assert _pixels(tmp_path / "p.png").shape[1] <= 1300


def test_nothing_about_the_patient_or_the_machine_is_in_the_file(tmp_path):
    volume, labelmap = _scan()
    source = Source((Path("case_7.nii.gz"),), "nifti", header={"PatientName": "Doe^Jane"})
    preview_png(replace(volume, source=source), labelmap, None, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert set(picture.info) <= {"dpi"}
    assert b"Doe" not in (tmp_path / "p.png").read_bytes()


def test_a_failed_drawing_leaves_what_was_there(tmp_path):
    volume, _ = _scan()
    path = tmp_path / "p.png"
    path.write_bytes(b"the earlier picture")
    with pytest.raises(ValueError, match="expected one grid"):
        preview_png(volume, _scan((40, 30, 2))[1], None, path)
    assert path.read_bytes() == b"the earlier picture"
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize("fill", [np.nan, np.inf, 3.0])
def test_scans_without_contrast_or_finite_voxels_are_still_drawn(tmp_path, fill):
    volume, labelmap = _scan()
    data = np.full_like(volume.data, fill)
    preview_png(replace(volume, data=data), labelmap, None, tmp_path / "p.png")
    assert _reddish(tmp_path / "p.png").any()


def test_ct_is_shown_in_a_soft_tissue_window_and_others_by_percentiles():
    volume, _ = _scan((20, 20, 20), box=(slice(0, 1),) * 3)
    low, high = display_window(volume)
    assert 60 < low < 90
    assert 110 < high < 140
    ct = replace(volume, source=Source(modality="CT"))
    assert display_window(ct) == (-160.0, 240.0)
    air = volume.data.copy()
    air[0, :3] = -1000
    assert display_window(replace(volume, data=air)) == (-160.0, 240.0)
    assert display_window(replace(volume, data=air, source=Source(modality="MR"))) != (-160.0, 240.0)


def test_importing_the_room_loads_no_matplotlib_and_drawing_no_pyplot(tmp_path):
    code = (
        "import sys, medseg.report.preview, medseg.report.training\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"medseg.report.training.curves_png([], {str(tmp_path / 'c.png')!r})\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"step": 0.0, "loss": 1.5, "learning_rate": 1e-3}],
        [{"step": s, "loss": np.nan if s == 3 else 2.0 / (s + 1), "lr": 1e-3} for s in range(40)],
        [{"step": 10, "mean_dice": 0.5, "dice $a$": 0.4, "dice b": None}, {"step": 20, "mean_dice": None}],
        [{"step": s, "mean_dice": 0.1 * s, **{f"dice {n}": 0.1 * s for n in range(30)}} for s in range(5)],
    ],
)
def test_curves_of_any_history_are_drawn(tmp_path, history):
    curves_png(history, tmp_path / "curves.png")
    assert _pixels(tmp_path / "curves.png").shape == (504, 1200, 3)


def test_of_one_validation_each_dot_lies_as_far_along_as_its_dice(tmp_path):
    ends = []
    for dice in (0.2, 0.7):
        curves_png([{"step": 9, "mean_dice": None, "dice a": dice}], tmp_path / "c.png")
        orange = (np.abs(_pixels(tmp_path / "c.png") - (0xE6, 0x9F, 0x00)) < 12).all(axis=-1)
        ends.append(np.flatnonzero(orange.any(axis=0)).max())
    assert ends[1] - ends[0] == pytest.approx(0.5 * 0.255 * 1200, abs=2)


def test_specks_and_pinholes_get_no_outline_but_a_lone_voxel_does():
    mask = np.zeros((40, 50), bool)
    mask[2:32, 2:32] = True
    mask[10:16, 10:16] = False  # 36 pixels: a hole that an outline shows
    mask[34:38, 40:46] = True  # 24 pixels: an island that an outline shows
    expected = mask.copy()
    mask[20, 20] = mask[25, 24:30] = False
    mask[2, 45] = mask[36, 2:9] = mask[32, 32] = True  # the last touches by a corner only
    np.testing.assert_array_equal(without_specks(mask), expected)
    lone = np.zeros((7, 9), bool)
    lone[0, 3] = True
    np.testing.assert_array_equal(without_specks(lone), lone)
    assert not without_specks(np.zeros((5, 6), bool)).any()


def _cases(offsets, shape=(24, 20, 12)):
    for n in offsets:
        volume, reference = _scan(shape, box=(slice(5, 15), slice(5, 15), slice(3, 8)), seed=n)
        yield f"case {n}", volume, reference, replace(reference, data=np.roll(reference.data, n, axis=0))


def test_best_median_and_worst_case_are_chosen_by_dice():
    chosen = choose_cases(list(_cases((4, 0, 9, 2, 6))))
    assert [(rank, case.name) for rank, case in chosen] == [
        ("best", "case 0"), ("median", "case 4"), ("worst", "case 9")
    ]  # fmt: skip
    assert chosen[1][1].mean == pytest.approx(0.6)
    assert [rank for rank, _ in choose_cases(list(_cases((1, 2))))] == ["best", "worst"]


@pytest.mark.parametrize("shape", [(24, 20, 12), (24, 20, 1)])
def test_overlays_are_drawn_for_volumes_and_slices(tmp_path, shape):
    cases = list(_cases((0, 3, 6), shape)) if shape[2] > 1 else [
        (name, *_scan(), _scan()[1]) for name in "abc"
    ]  # fmt: skip
    overlays_png(cases, tmp_path / "o.png")
    assert _reddish(tmp_path / "o.png").sum() > 1000


def test_overlays_of_cases_without_any_label_are_refused(tmp_path):
    volume, labelmap = _scan(box=(slice(0),) * 3)
    with pytest.raises(ValueError, match="none of 1 cases"):
        overlays_png([("empty", volume, labelmap, labelmap)], tmp_path / "o.png")


def test_a_real_crop_shows_both_structures(real_data, tmp_path):
    import medseg

    case = real_data / "hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"
    labels = medseg.read_labels(real_data / "hippocampus" / "labelsTr" / case.name)
    preview_png(medseg.read(case), labels, None, tmp_path / "p.png")
    pixels = _pixels(tmp_path / "p.png")
    for label in labels.labels:
        assert (np.abs(pixels - label.colour) < 25).all(axis=-1).sum() > 300
