"""Heads that a brain model is for, and inputs that it is not for, for `brain_scope.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import medseg
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.plans import Plan
from medseg.training.synthesis import synthetic_scan
from medseg.training.synthesis.scope import coarser, usual_scans
from medseg.volume import LabelMap, Volume

CONTRASTS = ("t1", "t2", "flair", "pd", "ct", "random")
_WINDOW_MM = (160.0, 192.0, 160.0)
_HEAD_CT = "dicom/ct_gantry_tilt_variable_spacing"
_SPINES = (
    "nifti/spinal_cord/t1/t1w.nii.gz",
    "nifti/spinal_cord/t2/t2.nii.gz",
    "nifti/spinal_cord/t2/t2_fake_lesion.nii.gz",
    "nifti/spinal_cord/t2s/t2s.nii.gz",
    "nifti/spinal_cord/t2s/t2s_uncropped.nii.gz",
    "nifti/spinal_cord/mt/mt1.nii.gz",
    "nifti/spinal_cord/dmri/dwi_mean.nii.gz",
    "nifti/spinal_cord/template/template/PAM50_small_t2.nii.gz",
    "nifti/bids_spine/sub-unf01/anat/sub-unf01_T1w.nii.gz",
    "nifti/bids_spine/sub-unf01/anat/sub-unf01_T2w.nii.gz",
    "nifti/bids_spine/sub-unf02/anat/sub-unf02_T2star.nii.gz",
    "nifti/bids_spine/sub-unf02/anat/sub-unf02_T2w.nii.gz",
)
_BODIES = ("ct/example_ct.nii.gz", "ct/example_ct_sm.nii.gz", "ct/example_mr_sm.nii.gz", "dicom/ct_clean_j2k")
_PIECES = ("nifti/nibabel/anatomical.nii", "nifti/nibabel/reoriented_anat_moved.nii", "dicom/enhanced_mr/001")
_PHANTOM_SCANS = (
    ("dicom/files_named_img/Siemens", 1),
    ("dicom/files_named_img/Agfa", 1),
    ("dicom/enhanced_mr_qa/In/Philips", 1),
    ("dicom/enhanced_mr_qa/In/Philips", 2),
)


@dataclass(frozen=True)
class Scan:
    """One input: what kind it is, which one, its voxels, and its labels where they are known.

    ``part`` is what may stand for it where segmenting all of it takes too long: the same voxels, no farther
    than a window of 160 x 192 x 160 mm reaches round the brain.
    """

    kind: str
    name: str
    volume: Volume
    truth: LabelMap | None = None
    part: Volume | None = None


@dataclass(frozen=True)
class Corpus:
    """Where everything comes from: the folder of real data, the model's plan, label maps by name."""

    data: Path
    plan: Plan
    maps: dict[str, LabelMap]

    def head(self, case: str, seed: int, contrast: str) -> tuple[Volume, LabelMap]:
        """A made scan of a label map, voxels of 2 mm."""
        grid = self.plan.grid.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
        plan = self.plan.model_copy(update={"grid": grid})
        whole = coarser(self.maps[case])
        return synthetic_scan(whole, plan, seed=seed, contrast=contrast, voxel_mm=(2, 2, 2))


def load_maps(data: Path, plan: Plan) -> dict[str, LabelMap]:
    """The label maps by name, with the values that the plan's tissues have."""
    known = LabelSet.from_names({t.value: f"tissue {t.value}" for t in plan.synthesis.tissues if t.value})
    maps = {}
    for path in sorted((data / "brain_labels").glob("*_seg_*.nii.gz")):
        read = medseg.read(path)
        maps[path.name.removesuffix(".nii.gz")] = LabelMap(
            read.data[0].astype(np.uint16), read.geometry, known
        )
    return maps


def made_heads(corpus: Corpus, cases: Sequence[str], count: int, first: int) -> Iterator[Scan]:
    """Heads of every contrast, slice thickness, order of storage and usual field of view."""
    maps = [coarser(corpus.maps[case]) for case in cases]
    for name, volume, truth in usual_scans(maps, corpus.plan, count, first):
        yield Scan("made heads", name, volume, truth, around(volume, middle(truth)))


def real_heads(corpus: Corpus) -> Iterator[Scan]:
    """The heads among the real data, each as it is and as other scanners might have stored it."""
    for name, volume in whole_heads(corpus):
        yield Scan("real heads", name, volume)
        for factors in ((1, 1, 5), (1, 5, 1), (5, 1, 1), (2, 2, 2), (3, 3, 3), (1, 1, 8)):
            if factors != (1, 1, 8) or volume.geometry.spacing[2] <= 1.01:
                thick = averaged(volume, factors)
                yield Scan("real heads", f"{name}, {'x'.join(map(str, factors))} voxels averaged", thick)
        yield Scan("real heads", f"{name}, stored PIR", stored_as(volume, (1, 2, 0), (True, True, False)))
        yield Scan("real heads", f"{name}, turned 12 degrees", turned(volume, 12.0))
        yield Scan("real heads", f"{name}, noise", noisy(averaged(volume, (2, 2, 2)), 0.06))
        yield Scan("real heads", f"{name}, other scale", changed(volume, volume.data * 0.003 + 7.0))
    data = volume_named(corpus, "template")
    inverse = np.where(data.data > 0, data.data.max() * 1.05 - data.data, 0)
    yield Scan("real heads", "template, bright and dark exchanged", changed(data, inverse))


def whole_heads(corpus: Corpus) -> Iterator[tuple[str, Volume]]:
    """The real heads: a CT, and the ICBM152 T1 template that nilearn packages, without its skull."""
    for name in ("template", "ct"):
        yield name, volume_named(corpus, name)


def volume_named(corpus: Corpus, name: str) -> Volume:
    """``template`` or ``ct``."""
    if name == "ct":
        return _read(corpus.data / _HEAD_CT, allow=("uneven-spacing", "tilt"))
    folder = files("nilearn") / "datasets" / "data"
    return _read(Path(str(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")))


def outside(corpus: Corpus, cases: Sequence[str]) -> Iterator[Scan]:
    """Everything that the model is not for; heads are those of ``cases`` and the real ones."""
    yield from chain(_pictures(corpus), _crops(corpus), _bodies(corpus), _spines(corpus), _phantoms(corpus))
    sources = list(_sources(corpus, cases))
    yield from chain(_halves(sources), _turned(sources), _units(sources), _buried(sources), _masks(sources))
    yield from chain(_slices_gone_wrong(sources), _noises(), _maps())


def _pictures(corpus: Corpus) -> Iterator[Scan]:
    folders = (corpus.data / "membrane", corpus.data / "nifti" / "bids_spine" / "data_test_png_tif")
    for folder in folders:
        for path in islice(sorted(chain(folder.rglob("*.png"), folder.rglob("*.tif"))), 8):
            yield Scan("2D pictures", path.name, medseg.read(path))
    stack = [np.asarray(Image.open(p)) for p in sorted(folders[0].rglob("*.png"))[:16]]
    data = np.stack(stack, axis=-1)[None, ::2, ::2]
    yield Scan("2D pictures", "membranes as a stack", Volume(data, _grid(data, (1.0, 1.0, 10.0))))


def _crops(corpus: Corpus) -> Iterator[Scan]:
    for path in sorted((corpus.data / "hippocampus" / "imagesTr").glob("*.nii.gz"))[4:200:14]:
        yield Scan("crops of a brain", path.name, medseg.read(path))
    for name in _PIECES:
        yield Scan("crops of a brain", name, medseg.read(corpus.data / name))
    yield Scan(
        "crops of a brain",
        "functional",
        medseg.read(corpus.data / "nifti" / "nibabel" / "functional.nii", series=1),
    )


def _bodies(corpus: Corpus) -> Iterator[Scan]:
    for name in _BODIES:
        yield Scan("other parts of the body", name, medseg.read(corpus.data / name))
    whole = medseg.read(corpus.data / _BODIES[0])
    random = np.random.default_rng(0)
    for n in range(12):
        size = random.integers((55, 60, 50), (75, 85, 80))
        start = [int(random.integers(0, a - s)) for a, s in zip(whole.geometry.shape, size, strict=True)]
        piece = cut(whole, tuple(slice(a, a + int(s)) for a, s in zip(start, size, strict=True)))
        yield Scan("other parts of the body", f"head-sized piece {n} of an abdomen", piece)
    for n, axis in enumerate((0, 1, 2)):
        narrow = cut(whole, tuple(slice(20, 90) if a == axis else slice(None) for a in range(3)))
        yield Scan("other parts of the body", f"band {n} of an abdomen", narrow)
    for factor in (0.5, 0.6, 0.7):  # an abdomen whose header makes it as large as a head
        yield Scan("other parts of the body", f"abdomen scaled by {factor}", scaled(whole, factor))


def _spines(corpus: Corpus) -> Iterator[Scan]:
    for name in _SPINES:
        yield Scan("spines", name, medseg.read(corpus.data / name))


def _phantoms(corpus: Corpus) -> Iterator[Scan]:
    for name, series in _PHANTOM_SCANS:
        yield Scan("phantoms", f"{name} {series}", medseg.read(corpus.data / name, series=series))
    shape, spacing = (110, 125, 120), (2.0, 2.0, 2.0)
    x, y, z = ((np.indices(shape).T - (np.array(shape) - 1) / 2) * 2.0).T
    radius = np.sqrt(x**2 + y**2 + z**2)
    egg = np.sqrt((x / 75) ** 2 + (y / 95) ** 2 + (z / 80) ** 2)
    tube = np.sqrt((x / 80) ** 2 + (y / 90) ** 2)
    checks = ((x // 30).astype(int) + (y // 30).astype(int) + (z // 30).astype(int)) % 2
    made = {
        "ball": 100.0 * (radius < 85),
        "small ball": 100.0 * (radius < 40),
        "egg": 100.0 * (egg < 1),
        "egg with a shell": 60.0 * (egg < 0.9) + 200.0 * ((egg >= 0.93) & (egg < 1)),
        "eggs in eggs": 80.0 * (egg < 1) + 60.0 * (egg < 0.6) - 90.0 * (egg < 0.25),
        "box": 100.0 * ((abs(x) < 70) & (abs(y) < 85) & (abs(z) < 70)),
        "bottle": 100.0 * ((tube < 1) & (abs(z) < 90)),
        "bottle with rods": 100.0 * ((tube < 1) & (abs(z) < 90)) * (((x // 15 + y // 15) % 3) > 0),
        "chequers": 100.0 * checks,
        "chequered egg": (60 + 60.0 * checks) * (egg < 1),
        "slope": x + y + z,
        "slope in an egg": (150 + x) * (egg < 1),
        "bottles": 100.0 * (np.hypot(abs(x) - 45, y) < 38) * (abs(z) < 85),
    }
    random = np.random.default_rng(1)
    for name, data in made.items():
        acquired = ndimage.gaussian_filter(data, 0.6) + random.normal(0, 3, shape)
        volume = Volume(acquired[None].astype(np.float32), _grid(acquired[None], spacing))
        part = around(volume, volume.geometry.corners.mean(axis=0))
        yield Scan("phantoms", name, volume, part=part)


def _noises() -> Iterator[Scan]:
    random = np.random.default_rng(2)
    for n, shape in enumerate(((110, 120, 110), (96, 128, 40), (128, 128, 128))):
        spacing = (2.0, 2.0, 220 / shape[2])
        plain = random.normal(size=shape).astype(np.float32)
        yield Scan("noise", f"normal {n}", Volume(plain[None], _grid(plain[None], spacing)))
        smooth = ndimage.gaussian_filter(plain, (6, 6, 12 / spacing[2]))
        yield Scan("noise", f"smooth {n}", Volume(smooth[None], _grid(plain[None], spacing)))
    integers = random.integers(0, 4096, (1, 100, 110, 100)).astype(np.int16)
    yield Scan("noise", "integers", Volume(integers, _grid(integers, (2.0, 2.0, 2.0))))


def _sources(corpus: Corpus, cases: Sequence[str]) -> Iterator[tuple[str, Volume, NDArray[np.float64]]]:
    """Whole heads to spoil, with the middle of their brains in world mm."""
    for n, case in enumerate(cases):
        for contrast in CONTRASTS[2 * n : 2 * n + 2]:
            volume, truth = corpus.head(case, 900 + n, contrast)
            yield f"{case} {contrast}", volume, middle(truth)
    yield "template", averaged(volume_named(corpus, "template"), (2, 2, 2)), np.array((0.0, -18.0, 8.0))
    ct = averaged(volume_named(corpus, "ct"), (4, 4, 2))
    yield "ct", ct, ct.geometry.corners.mean(axis=0) + np.array((0.0, 0.0, 15.0))


def _halves(sources: Sequence[tuple[str, Volume, NDArray[np.float64]]]) -> Iterator[Scan]:
    sides = (("right", "left"), ("front", "back"), ("upper", "lower"))
    for name, volume, centre in sources:
        turned_to_ras = in_ras(volume)
        at = np.rint(turned_to_ras.geometry.world_to_index(centre)).astype(int)
        for axis, (high, low) in enumerate(sides):
            for side, part in ((high, slice(int(at[axis]), None)), (low, slice(0, int(at[axis])))):
                window = tuple(part if a == axis else slice(None) for a in range(3))
                half = cut(turned_to_ras, window)
                yield Scan("half heads", f"{side} half, {name}", half, part=around(half, centre))


def _turned(sources: Sequence[tuple[str, Volume, NDArray[np.float64]]]) -> Iterator[Scan]:
    for name, volume, centre in sources:
        plain = in_ras(volume)
        near = around(plain, centre)
        for what, axes, flips in (
            ("upside down (mirrored)", (0, 1, 2), (False, False, True)),
            ("back to front (mirrored)", (0, 1, 2), (False, True, False)),
            ("upside down (turned)", (0, 1, 2), (False, True, True)),
            ("lying on its face", (0, 2, 1), (False, False, True)),
            ("axes R and S exchanged", (2, 1, 0), (False, False, False)),
            ("axes R and A exchanged", (1, 0, 2), (False, False, False)),
        ):
            kind, title = "turned heads", f"{what}, {name}"
            yield Scan(kind, title, _relabelled(plain, axes, flips), part=_relabelled(near, axes, flips))


def _relabelled(plain: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The array turned, the header not."""
    data = np.flip(plain.data.transpose(0, *(a + 1 for a in axes)), _flipped(flips))
    return Volume(data, _grid(data, tuple(plain.geometry.spacing[a] for a in axes)))


def _units(sources: Sequence[tuple[str, Volume, NDArray[np.float64]]]) -> Iterator[Scan]:
    for name, volume, _ in sources[:2] + sources[-2:]:
        for factor in (0.001, 0.1, 0.5, 2.0, 10.0, 1000.0):
            yield Scan("wrong units", f"spacing x {factor}, {name}", scaled(volume, factor))
        yield Scan("wrong units", f"slices x 5, {name}", scaled(volume, (1, 1, 5)))


def _buried(sources: Sequence[tuple[str, Volume, NDArray[np.float64]]]) -> Iterator[Scan]:
    for name, volume, _ in sources:
        yield Scan("noise", f"a head in ten times its range of noise, {name}", noisy(volume, 10.0))


def _masks(sources: Sequence[tuple[str, Volume, NDArray[np.float64]]]) -> Iterator[Scan]:
    for name, volume, _ in sources[::2]:
        mask = (volume.data > volume.data.min() + 0.2 * np.ptp(volume.data)).astype(np.uint8)
        yield Scan("masks and maps", f"mask of {name}", changed(volume, mask))
        yield Scan("masks and maps", f"constant, {name}", changed(volume, np.full_like(volume.data, 5)))


def _maps() -> Iterator[Scan]:
    folder = files("nilearn") / "datasets" / "data"
    yield Scan("masks and maps", "z map", medseg.read(Path(str(folder / "image_10426.nii.gz"))))


def _slices_gone_wrong(sources: Sequence[tuple[str, Volume, NDArray[np.float64]]]) -> Iterator[Scan]:
    random = np.random.default_rng(3)
    for name, volume, centre in sources[::2]:
        plain = in_ras(volume)
        count = plain.geometry.shape[2]
        for what, order in (("shuffled", random.permutation(count)), ("one", [count // 2] * count)):
            wrong = changed(plain, plain.data[..., order])
            yield Scan("slices", f"{what}, {name}", wrong, part=around(wrong, centre))


def cut(volume: Volume, window: tuple[slice, ...]) -> Volume:
    """A part of a scan, where it was."""
    start, shape = _window(volume.geometry.shape, window)
    return replace(
        volume, data=volume.data[(slice(None), *window)], geometry=volume.geometry.cropped(start, shape)
    )


def around(volume: Volume, centre: NDArray[np.float64]) -> Volume:
    """What lies in a window round a point in world mm."""
    spacing = np.array(volume.geometry.spacing)
    world = list(volume.geometry.closest_world_axes)
    half = np.array(_WINDOW_MM)[world] / spacing / 2
    at = volume.geometry.world_to_index(centre)
    window = [
        slice(max(0, int(np.ceil(middle - size))), min(n, int(np.floor(middle + size))))
        for middle, size, n in zip(at, half, volume.geometry.shape, strict=True)
    ]
    return cut(volume, tuple(window))


def stored_as(volume: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same scan in another order of its axes."""
    data = np.flip(volume.data.transpose(0, *(a + 1 for a in axes)), _flipped(flips))
    return replace(volume, data=data, geometry=volume.geometry.permuted(axes, flips))


def in_ras(volume: Volume) -> Volume:
    """The same scan stored along right, anterior, superior."""
    world = volume.geometry.closest_world_axes
    axes = tuple(world.index(a) for a in range(3))
    flips = tuple(bool(volume.geometry.affine[n, a] < 0) for n, a in enumerate(axes))
    return stored_as(volume, axes, flips)


def turned(volume: Volume, degrees: float) -> Volume:
    """The head nods: the same voxels on a grid that is turned about the axis from left to right."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    return replace(volume, geometry=Geometry(volume.geometry.shape, turn @ volume.geometry.affine))


def averaged(volume: Volume, factors: tuple[int, ...]) -> Volume:
    """Larger voxels: means of blocks, what is left over at the end cut off."""
    shape = tuple(n // f for n, f in zip(volume.geometry.shape, factors, strict=True))
    data = volume.data[(0, *(slice(0, n * f) for n, f in zip(shape, factors, strict=True)))].astype(
        np.float32
    )
    data = data.reshape(shape[0], factors[0], shape[1], factors[1], shape[2], factors[2]).mean(axis=(1, 3, 5))
    step = np.diag([*factors, 1.0])
    step[:3, 3] = (np.array(factors) - 1) / 2
    return replace(volume, data=data[None], geometry=Geometry(shape, volume.geometry.affine @ step))


def scaled(volume: Volume, factor: float | Sequence[float]) -> Volume:
    """The same voxels under a header with another spacing."""
    step = np.diag([*np.broadcast_to(factor, 3), 1.0])
    return replace(volume, geometry=Geometry(volume.geometry.shape, volume.geometry.affine @ step))


def noisy(volume: Volume, share: float) -> Volume:
    """With noise whose standard deviation is a share of the scan's range (1st to 99th percentile)."""
    low, high = np.percentile(volume.data[:, ::3, ::3, ::3], (1, 99))
    random = np.random.default_rng(7)
    noise = random.normal(0, share * (high - low), volume.data.shape).astype(np.float32)
    return changed(volume, volume.data + noise)


def changed(volume: Volume, data: NDArray[Any]) -> Volume:
    """Other values on the same grid."""
    return replace(volume, data=data)


def middle(labels: LabelMap) -> NDArray[np.float64]:
    """The centre in world mm of what is labelled, without the fluid that reaches down the spine."""
    where = np.argwhere(np.isin(labels.data, [i for i in labels.labels.ids if i != 24]))
    return labels.geometry.index_to_world(where.mean(axis=0))


def _window(shape: Sequence[int], window: tuple[slice, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ends = [one.indices(n) for one, n in zip(window, shape, strict=True)]
    return tuple(a for a, _, _ in ends), tuple(b - a for a, b, _ in ends)


def _grid(data: NDArray[Any], spacing: Sequence[float]) -> Geometry:
    return Geometry(data.shape[1:], np.diag([*spacing, 1.0]))


@cache
def _read(path: Path, **how: Any) -> Volume:
    return medseg.read(path, **how)


def _flipped(flips: Sequence[bool]) -> tuple[int, ...]:
    return tuple(n + 1 for n in range(3) if flips[n])
