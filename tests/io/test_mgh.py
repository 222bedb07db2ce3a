"""MGH and MGZ, against nibabel, and what is refused."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

import medseg
from medseg import Volume

TYPES = ("u1", "i4", "f4", "i2", "u2")


@pytest.fixture
def scan(tmp_path: Path, oblique: Callable[..., Volume]) -> Path:
    volume = oblique()
    nibabel.save(nibabel.MGHImage(volume.data[0], volume.geometry.affine), tmp_path / "scan.mgh")
    return tmp_path / "scan.mgh"


def _patch(path: Path, offset: int, layout: str, *values: object) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(bytes(content))
    return path


def _oracle(path: Path) -> nibabel.MGHImage:
    content = path.read_bytes()  # nibabel leaves .mgh files open
    return nibabel.MGHImage.from_bytes(gzip.decompress(content) if path.suffix == ".mgz" else content)


def _code(path: Path, **options: object) -> str:
    with pytest.raises(medseg.InputRefused, match=path.name) as refusal:
        medseg.read(path, **options)
    return refusal.value.code


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_is_read_as_nibabel_reads_it(
    tmp_path: Path, oblique: Callable[..., Volume], dtype: str, suffix: str
) -> None:
    volume = oblique((2, 0, 1), (True, False, True))
    values = (volume.data[0] - (volume.data.min() if dtype[0] == "u" else 0)).astype(dtype)
    path = tmp_path / f"scan{suffix}"
    nibabel.save(nibabel.MGHImage(values, volume.geometry.affine), path)
    found, oracle = medseg.read(path), _oracle(path)
    assert found.data.dtype == np.dtype(dtype)
    assert np.array_equal(found.data[0], values)
    assert np.allclose(found.geometry.affine, oracle.affine, atol=1e-5)
    assert found.geometry.grid_distance_mm(volume.geometry) < 1e-4
    assert found.verdict.status == "ok"


def test_one_frame_of_several_is_chosen(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(3, 4, 5, 3)).astype(np.float32)
    nibabel.save(nibabel.MGHImage(frames, np.eye(4)), tmp_path / "frames.mgz")
    assert _code(tmp_path / "frames.mgz") == "four-dimensional"
    for n in range(3):
        assert np.array_equal(medseg.read(tmp_path / "frames.mgz", series=n + 1).data[0], frames[..., n])
    with pytest.raises(medseg.UsageError, match="volumes 1 to 3"):
        medseg.read(tmp_path / "frames.mgz", series=4)


def test_a_volume_that_is_placed_nowhere_is_a_warning(scan: Path) -> None:
    found = medseg.read(_patch(scan, 28, ">h", 0))
    assert found.verdict.codes == ("orientation-unknown",)
    # FreeSurfer's setDirectionCosine for coronal slices; nibabel turns the last two axes round
    expected = [[-1, 0, 0, 2.5], [0, 0, 1, -2], [0, -1, 0, 3.5], [0, 0, 0, 1]]
    assert np.array_equal(found.geometry.affine, expected)
    assert not found.geometry.spacing_known


def test_command_lines_after_the_voxels_are_passed_over(scan: Path) -> None:
    before = medseg.read(scan)
    scan.write_bytes(scan.read_bytes() + b"mri_convert CANARY^DOE.dcm" * 1000)
    after = medseg.read(scan)
    assert np.array_equal(before.data, after.data)
    assert before.geometry == after.geometry


@pytest.mark.parametrize(
    ("offset", "layout", "values", "code"),
    [
        (0, ">i", (2,), "bad-header"),  # version
        (4, ">i", (-5,), "bad-header"),  # a dimension
        (4, ">3i", (1 << 30, 1 << 30, 1 << 30), "truncated"),
        (8, ">i", (700,), "truncated"),
        (20, ">i", (6,), "unsupported-encoding"),  # tensors
        (20, ">i", (77,), "bad-header"),
        (30, ">f", (0.0,), "bad-header"),  # a voxel size
        (30, ">f", (float("nan"),), "bad-header"),
        (42, ">3f", (0.0, 0.0, 0.0), "bad-header"),  # a direction
        (42, ">f", (float("inf"),), "bad-header"),
        (78, ">f", (float("nan"),), "bad-header"),  # the centre
        (42, ">3f", (0.8, 0.6, 0.5), "shear"),
    ],
)
def test_an_impossible_header_is_refused(
    scan: Path, offset: int, layout: str, values: tuple, code: str
) -> None:
    assert _code(_patch(scan, offset, layout, *values)) == code


def test_a_cut_file_is_refused(scan: Path, truncate: Callable[[Path, int], Path]) -> None:
    packed = scan.with_suffix(".mgz")
    packed.write_bytes(gzip.compress(scan.read_bytes()))
    assert _code(truncate(packed, 9)) == "truncated"
    scan.write_bytes(scan.read_bytes()[: 284 + 100])
    assert _code(scan) == "truncated"
    scan.write_bytes(scan.read_bytes()[:100])
    assert _code(scan) == "truncated"


def test_labels_of_freesurfer_keep_their_numbers(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), np.int32)
    labels[1:3, 2, 3], labels[0, 0, 0] = 17, 2035
    nibabel.save(nibabel.MGHImage(labels, np.diag([-1.0, 1.2, 1.4, 1.0])), tmp_path / "aseg.mgz")
    found = medseg.read_labels(tmp_path / "aseg.mgz")
    assert found.labels.ids == (17, 2035)
    assert np.array_equal(found.data, labels)


def test_the_real_file_has_several_frames_and_a_sheared_grid(real_data: Path) -> None:
    path = real_data / "nifti" / "nibabel" / "test.mgz"
    oracle = _oracle(path)
    assert _code(path) == "four-dimensional"
    found = medseg.read(path, series=2, allow=["shear"])
    assert np.array_equal(found.data[0], np.asanyarray(oracle.dataobj)[..., 1])
    assert np.allclose(found.geometry.affine, oracle.affine, atol=1e-4)
