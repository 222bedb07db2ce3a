"""A model's scope accepts scans like its training scans and names what is different about others."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.models import Scope
from medseg.plans import Plan
from medseg.quality import check_scope, fit_scope
from medseg.volume import Source, Volume
from tests.threshold_model import save_threshold_model, threshold_plan


def plan(dimensions: int = 3, channels: int = 1) -> Plan:
    return Plan(
        name="toy",
        dimensions=dimensions,
        channels=tuple({"name": f"c{n}", "modality": "MR"} for n in range(channels)),
        labels=({"id": 1, "name": "thing", "colour": (1, 2, 3)},),
        patch=(16,) * dimensions,
        network={"strides": ((1,) * dimensions, *[(2,) * dimensions] * 3)},
    )


def scan(seed: int, shape=(30, 44, 21), spacing=(1.0, 1.2, 2.0), modality=None) -> Volume:
    """A bright ellipsoid, off centre, in smooth noise, with an oblique affine."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = ((x - 0.3) ** 2 + (y + 0.2) ** 2 + z**2 < 0.3) * random.uniform(0.8, 1.2)
    image = ndimage.gaussian_filter(body + 0.3 * random.normal(size=shape), 1.0)
    c, s = np.cos(0.2), np.sin(0.2)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    data = (image * random.uniform(100, 900))[None].astype(np.float32)
    return Volume(data, Geometry(shape, affine), Source(modality=modality))


def changed(volume: Volume, data=None, affine=None, modality=None) -> Volume:
    geometry = volume.geometry
    data = volume.data if data is None else data
    affine = geometry.affine if affine is None else affine
    return Volume(data, Geometry(data.shape[1:], affine), Source(modality=modality))


@pytest.fixture(scope="module")
def scope() -> Scope:
    return fit_scope((scan(seed) for seed in range(12)), plan(), "ellipsoids in noise")


def test_scope_is_learnt_from_the_scans(scope):
    assert scope.modalities == ("MR",)
    assert scope.dimensions == 3
    for low, high, value in zip(scope.spacing_min_mm, scope.spacing_max_mm, (1.0, 1.2, 2.0), strict=True):
        assert low < value < high
    for low, high, value in zip(scope.extent_min_mm, scope.extent_max_mm, (30.0, 42.0, 52.8), strict=True):
        assert low < value < high
    assert Scope.model_validate(scope.model_dump(mode="json")) == scope


@pytest.mark.parametrize("seed", range(100, 110))
def test_new_scans_of_the_same_kind_are_inside(scope, seed):
    assert check_scope(scan(seed), scope).status == "ok"


def test_how_the_array_is_stored_does_not_matter(scope):
    volume = scan(200)
    geometry = volume.geometry.permuted((2, 0, 1), (True, False, True))
    data = np.flip(volume.data.transpose(0, 3, 1, 2), (1, 3))
    assert check_scope(Volume(data, geometry), scope).status == "ok"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda v: changed(v, affine=v.geometry.affine @ np.diag([1, 1, 3, 1])), "spacing"),
        (lambda v: changed(v, data=v.data[:, :, :, :6]), "extent"),
        (lambda v: changed(v, data=np.tile(v.data, (1, 3, 3, 3))), "extent"),
        (lambda v: changed(v, modality="CT"), "modality"),
        (lambda v: changed(v, data=-v.data), "appearance"),
        (lambda v: changed(v, data=v.data[:, ::-1]), "appearance"),
        (lambda v: changed(v, data=np.zeros_like(v.data)), "appearance"),
        (lambda v: changed(v, data=(v.data > v.data.mean()).astype(np.uint8)), "appearance"),
        (lambda v: changed(v, data=np.random.default_rng(0).normal(size=v.data.shape)), "appearance"),
    ],
    ids=["thick", "thin slab", "large", "ct", "inverted", "mirrored", "empty", "mask", "noise"],
)
def test_what_is_different_is_named(scope, change, code):
    verdict = check_scope(change(scan(300)), scope)
    assert verdict.status == "warning"
    assert f"outside-scope-{code}" in verdict.codes


def test_unknown_spacing_and_modality_are_not_held_against_a_scan(scope):
    volume = scan(400)
    geometry = Geometry(volume.geometry.shape, volume.geometry.affine, spacing_known=False)
    assert check_scope(Volume(volume.data, geometry), scope).status == "ok"
    assert check_scope(changed(volume, modality="MR"), scope).status == "ok"


def test_a_2d_image_is_outside_a_3d_model(scope):
    image = Volume(np.ones((1, 8, 9, 1)), Geometry((8, 9, 1), np.eye(4), is_2d=True))
    assert check_scope(image, scope).codes == ("outside-scope-dimensions",)


def test_a_2d_model_looks_at_the_plane_alone():
    flat = fit_scope((scan(seed) for seed in range(8)), plan(2), "slices")
    assert flat.spacing_min_mm is not None
    assert len(flat.spacing_min_mm) == 2
    fewer = scan(500)
    fewer = changed(fewer, data=fewer.data[..., 5:16])
    assert "outside-scope-extent" not in check_scope(fewer, flat).codes


def test_a_scan_is_outside_a_model_of_pictures_and_inside_one_of_slices(tmp_path):
    slices = threshold_plan(dimensions=2, patch=(16, 8))
    pictures = slices.model_copy(
        update={"grid": slices.grid.model_copy(update={"orientation": None, "spacing_mm": None})}
    )
    of_slices = save_threshold_model(tmp_path / "slices", slices)
    of_pictures = save_threshold_model(tmp_path / "pictures", pictures)
    assert "outside-scope-dimensions" in check_scope(scan(1), of_pictures).codes
    assert "outside-scope-dimensions" not in check_scope(scan(1), of_slices).codes
    picture = Volume(np.ones((1, 8, 9, 1)), Geometry((8, 9, 1), np.eye(4), is_2d=True))
    assert "outside-scope-dimensions" not in check_scope(picture, of_pictures).codes


def test_each_channel_has_its_own_features():
    def pair(seed: int) -> Volume:
        first = scan(seed)
        return changed(first, data=np.concatenate([first.data, -first.data]))

    scope = fit_scope((pair(seed) for seed in range(8)), plan(channels=2), "pairs")
    assert check_scope(pair(50), scope).status == "ok"
    swapped = pair(51)
    verdict = check_scope(changed(swapped, data=swapped.data[::-1]), scope)
    assert verdict.codes == ("outside-scope-appearance",)
    assert "channel 0: " in verdict.reasons[0].message
    assert "channel 1: " in verdict.reasons[0].message


def test_one_training_scan_is_enough_to_accept_its_like():
    scope = fit_scope([scan(0)], plan(), "one")
    assert check_scope(scan(0), scope).status == "ok"
    assert sum(check_scope(scan(seed), scope).status == "ok" for seed in range(1, 11)) >= 8


def test_no_scan_teaches_nothing():
    with pytest.raises(ValueError, match="got none"):
        fit_scope([], plan(), "none")


@pytest.mark.parametrize(
    "values",
    [
        {"spacing_min_mm": (1, 1, 1)},
        {"spacing_min_mm": (1, 1, 1), "spacing_max_mm": (2, 2)},
        {"spacing_min_mm": (2, 1, 1), "spacing_max_mm": (3, 3, 3)},
        {"extent_min_mm": (5, 5, 5), "extent_max_mm": (4, 5, 6)},
        {"extent_min_mm": (-1, 5, 5), "extent_max_mm": (4, 5, 6)},
        {"features": ({"skewness": {"low": 1, "high": 0}},)},
        {"features": ({"skewness": {"low": float("nan"), "high": 0}},)},
        {"other": 1},
    ],
)
def test_a_scope_that_contradicts_itself_is_refused(values):
    with pytest.raises(ValueError, match=r"Scope"):
        Scope.model_validate({"dimensions": 3, "description": "x"} | values)


def nifti(path: Path) -> Volume:
    image = nib.load(path)
    return Volume(np.asanyarray(image.dataobj)[None], Geometry(image.shape, image.affine))


@pytest.fixture(scope="module")
def hippocampus(real_data) -> tuple[Scope, list[Path]]:
    """The scope from the training cases, and the held-back ones: every fifth of the sorted list."""
    cases = sorted((real_data / "hippocampus" / "imagesTr").glob("*.nii.gz"))
    training = [path for n, path in enumerate(cases, 1) if n % 5]
    return fit_scope(map(nifti, training), plan(), "hippocampus"), cases[4::5]


def test_held_back_hippocampi_are_inside(hippocampus):
    scope, held_back = hippocampus
    assert len(held_back) == 40
    outside = [path.name for path in held_back if check_scope(nifti(path), scope).status != "ok"]
    assert len(outside) <= 1, outside


def test_other_scans_are_outside_the_hippocampus_model(hippocampus, real_data):
    scope, held_back = hippocampus
    ct = nifti(real_data / "ct" / "example_ct.nii.gz")
    assert check_scope(ct, scope).status == "warning"
    membrane = np.asarray(Image.open(next((real_data / "membrane").rglob("*.png"))))
    picture = Volume(membrane[None, :, :, None], Geometry((*membrane.shape, 1), np.eye(4), is_2d=True))
    assert check_scope(picture, scope).codes == ("outside-scope-dimensions",)
    random = np.random.default_rng(0)
    sound = nifti(held_back[0])
    size = sound.data.shape[1:]
    for _ in range(20):  # pieces of a CT cut and labelled as if they were a hippocampus crop
        at = [random.integers(0, n - m) for n, m in zip(ct.data.shape[1:], size, strict=True)]
        piece = ct.data[(slice(None), *(slice(a, a + m) for a, m in zip(at, size, strict=True)))]
        assert check_scope(Volume(piece, sound.geometry), scope).codes == ("outside-scope-appearance",)
    for data in (sound.data[:, ::-1], 255 - sound.data, random.normal(size=sound.data.shape)):
        assert "outside-scope-appearance" in check_scope(Volume(data, sound.geometry), scope).codes
