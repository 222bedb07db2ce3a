"""Pictures to train on: colours, 16 bits, palettes; the oracles are tifffile and Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import medseg
from medseg.datasets import read_dataset
from medseg.errors import InputRefused
from medseg.training.cache import build_cache
from medseg.training.sampling import draw_batch
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan


def colours(seed: int, height: int = 52, width: int = 70) -> np.ndarray:
    """(height, width, 3) uint16, brighter than 8 bits hold, each channel another."""
    generator = np.random.default_rng(seed)
    return generator.integers((300, 5000, 20000), (4000, 9000, 60000), (height, width, 3)).astype(np.uint16)


def label(height: int = 52, width: int = 70) -> np.ndarray:
    cells = np.zeros((height, width), np.uint8)
    cells[5:30, 10:25] = 255
    return cells


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """16-bit RGB TIFFs with labels as 8-bit PNG."""
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for n in range(6):
        tifffile.imwrite(tmp_path / f"data/images/{n}.tif", colours(n), photometric="rgb")
        Image.fromarray(label()).save(tmp_path / f"data/labels/{n}.png")
    return tmp_path / "data"


def test_sixteen_bit_colours_are_three_channels_of_the_plan_and_of_a_step(dataset: Path) -> None:
    plan = medseg.plan(dataset, overrides=("augmentation.spatial_probability=0",))
    assert plan.dimensions == 2
    assert [channel.name for channel in plan.channels] == ["red", "green", "blue"]
    assert plan.grid.orientation is plan.grid.spacing_mm is plan.grid.slice_axis is None
    cases = build_cache(read_dataset(dataset).cases, plan, dataset.parent / "cache")
    stored = tifffile.imread(dataset / "images/2.tif").astype(np.float64)
    normalised = (stored - stored.mean((0, 1))) / stored.std((0, 1))
    np.testing.assert_allclose(cases[2].image[..., 0], normalised.transpose(2, 1, 0), atol=1e-4)
    np.testing.assert_array_equal(cases[2].classes[..., 0], label().T > 0)
    images, classes = draw_batch(cases, plan, step=0)
    assert images.shape[1] == 3
    assert classes.any()


def test_a_picture_larger_than_the_patch_is_segmented_window_by_window(tmp_path: Path) -> None:
    bundle = save_threshold_model(
        tmp_path / "m", threshold_plan(dimensions=2, patch=(32, 24), channels=("red", "green", "blue"))
    )
    large = colours(1, 150, 211)
    tifffile.imwrite(tmp_path / "large.tif", large, photometric="rgb")
    found = medseg.infer(tmp_path / "large.tif", bundle)
    expected = np.array([0, 7, 255])[expected_classes(large[..., 0].T[..., None])]  # judged by red
    assert (found.labels.data != expected).mean() < 1e-3  # where two classes are equal but for rounding
    assert found.provenance["execution"]["windows"]["total"] > 50


def test_palettes_and_other_numbers_of_channels_are_refused_by_case(dataset: Path) -> None:
    Image.fromarray(label()).convert("P").save(dataset / "images/3.png")
    (dataset / "images/3.tif").unlink()
    with pytest.raises(
        InputRefused, match=r"case '3': 3\.png has a palette.*save it as RGB or grey"
    ) as refusal:
        medseg.plan(dataset)
    assert refusal.value.code == "palette"
    Image.fromarray(label()).save(dataset / "images/3.png")
    with pytest.raises(InputRefused, match=r"case '0' has 3 channels, case '3' 1: .*all in RGB"):
        medseg.plan(dataset)
