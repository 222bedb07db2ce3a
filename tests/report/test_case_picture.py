"""The small picture of a case, read back as pixels."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medseg.geometry import Geometry
from medseg.labels import Label, LabelSet
from medseg.report.thumbnails import case_picture
from medseg.volume import LabelMap, Source, Volume

_LABELS = LabelSet((Label(3, "red", (255, 0, 0)), Label(200, "blue", (0, 0, 255))))


def _pixels(content):
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        assert picture.info.keys() <= {"transparency"}
        return np.asarray(picture.convert("RGB")).astype(int)


def _coloured(pixels, channel):
    """(row, column) of pixels in which one colour stands out."""
    others = [c for c in range(3) if c != channel]
    return np.argwhere((pixels[..., channel, None] - pixels[..., others] > 60).all(axis=-1))


def _case(box, *, shape=(30, 44, 18), spacing=(1.0, 0.7, 3.0), source=None, order="C", label=3):
    """Faint noise with a box, on a RAS grid turned by 10 degrees about z."""
    c, s = np.cos(np.radians(10)), np.sin(np.radians(10))
    affine = np.eye(4)
    affine[:3, :3] = np.array(((c, -s, 0), (s, c, 0), (0, 0, 1))) @ np.diag(spacing)
    geometry = Geometry(shape, affine)
    data = np.random.default_rng(1).normal(100, 5, shape).astype(np.float32, order=order)
    labels = np.zeros(shape, np.uint8, order=order)
    if box is not None:
        labels[box] = label
    return Volume(data[None], geometry, source or Source()), LabelMap(labels, geometry, _LABELS)


def _pixels_per_mm(size):
    """Of `_case`: planes 30, 30 and 44 x 0.7 mm wide with two gaps of 4 pixels; the highest is 18 x 3 mm."""
    return min((size - 8) / (30 + 30 + 44 * 0.7), size / 2.5 / (18 * 3))


# To the right, in front of and above the middle.
_BOX = (slice(18, 29), slice(24, 41), slice(10, 17))  # odd: the middle is one slice


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_the_patients_right_is_on_the_left_however_the_scan_is_stored(flips, order):
    volume, labelmap = _case(_BOX, order=order)
    expected = case_picture(volume, labelmap)
    stored = volume.geometry.permuted((0, 1, 2), tuple(n in flips for n in range(3)))
    turned = Volume(np.flip(volume.data[0], flips)[None], stored)
    picture = case_picture(turned, LabelMap(np.flip(labelmap.data, flips), stored, _LABELS))
    assert picture == expected
    pixels = _pixels(picture)
    axial_width = int(30 * _pixels_per_mm(400))
    axial = _coloured(pixels[:, :axial_width], 0)
    assert axial[:, 1].mean() < axial_width / 2  # right of the patient, left in the picture
    assert axial[:, 0].mean() < pixels.shape[0] / 2  # anterior is up


def test_millimetres_are_square_on_an_anisotropic_grid():
    volume, labelmap = _case((slice(5, 25), slice(5, 41), slice(2, 16)))
    pixels = _pixels(case_picture(volume, labelmap, size=600))
    scale = _pixels_per_mm(600)
    start = int(30 * scale) + 4  # the coronal plane: 20 mm wide, 14 slices of 3 mm high
    coronal = _coloured(pixels[:, start : start + int(30 * scale)], 0)
    height, width = np.ptp(coronal, axis=0) + 1
    assert width == pytest.approx(20 * scale, abs=2)
    assert height == pytest.approx(42 * scale, abs=2)


def test_labels_are_filled_and_outlined_in_their_colours():
    volume, labelmap = _case(_BOX, label=200)
    pixels = _pixels(case_picture(volume, labelmap))
    blue = pixels[tuple(_coloured(pixels, 2).T)]
    assert (np.abs(blue - (0, 0, 255)).max(axis=1) <= 16).mean() > 0.03  # the outline, nearly pure
    fill = np.median(blue, axis=0)
    assert 80 < fill[2] - fill[0] < 125  # 40 % of 255 over grey
    assert len(_coloured(pixels, 0)) == 0


def test_an_empty_segmentation_shows_the_middle():
    volume, labelmap = _case(None)
    volume.data[0, :, :, 9] = 1000  # the middle slice of 18
    pixels = _pixels(case_picture(volume, labelmap))
    axial = pixels[:, : int(30 * _pixels_per_mm(400))]
    assert np.median(axial.max(axis=2)) > 200
    assert len(_coloured(pixels, 0)) == len(_coloured(pixels, 2)) == 0


def test_a_picture_is_one_plane_and_bears_no_letters():
    geometry = Geometry((64, 48, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    data = np.tile(np.linspace(0, 100, 64, dtype=np.float32)[:, None, None], (1, 48, 1))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[:24] = 3
    pixels = _pixels(
        case_picture(
            Volume(data[None], geometry, Source(format="image")), LabelMap(labels, geometry, _LABELS)
        )
    )
    height, width = pixels.shape[:2]
    assert width / height == pytest.approx(64 / 48, abs=0.02)
    red = _coloured(pixels, 0)
    assert red[:, 1].max() == pytest.approx(width * 24 / 64, abs=1.5)
    assert (np.ptp(pixels[:, int(width * 0.6) :], axis=0) <= 12).all()  # equal down each column: no letter


def test_voxels_that_are_no_numbers_are_drawn_black():
    volume, labelmap = _case(None)
    volume.data[0] = np.nan
    assert _pixels(case_picture(volume, labelmap))[..., 0].mean() < 60


def test_pictures_are_small():
    volume, labelmap = _case(_BOX, shape=(160, 160, 120), spacing=(1.0, 1.0, 1.2))
    assert len(case_picture(volume, labelmap)) <= 25_000


def test_another_grid_and_a_tiny_size_are_refused():
    volume, labelmap = _case(_BOX)
    _, other = _case(_BOX, shape=(30, 44, 17))
    with pytest.raises(ValueError, match=r"\(30, 44, 18\).*\(30, 44, 17\)"):
        case_picture(volume, other)
    with pytest.raises(ValueError, match="20 pixels wide"):
        case_picture(volume, labelmap, size=20)


def test_matplotlib_is_not_needed():
    code = "import sys, medseg.report.thumbnails; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
