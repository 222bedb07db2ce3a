"""Maps streamed into a Zarr group: whatever boxes they come in, the group holds them; whole or not at all."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.errors import NotFound, WriteFailed
from medseg.geometry import Geometry
from medseg.io.zarr_maps import Box, ZarrMaps

CHANNELS = (("background", 0), ("left", 3), ("right", 255))
SHAPE = (70, 5, 131)
AFFINE = np.array([[-0.9, 0.1, 0.0, 5.0], [0.2, 1.1, 0.0, -3.0], [0.0, 0.0, 2.5, 9.0], [0.0, 0.0, 0.0, 1.0]])
BOTH = ("probabilities", "entropy")


def geometry(shape: tuple[int, int, int] = SHAPE) -> Geometry:
    return Geometry(shape, AFFINE)


def random_maps(shape: tuple[int, int, int], seed: int) -> dict[str, NDArray[np.float32]]:
    """Probabilities and entropy, with a part where one class is certain and the others nothing."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(CHANNELS), *shape)) * 4
    logits[0, : shape[0] // 2] += 60
    shares = np.exp(logits - logits.max(axis=0))
    shares /= shares.sum(axis=0)
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=0)
    return {"probabilities": shares.astype(np.float32), "entropy": entropy.astype(np.float32)}


def boxes(shape: tuple[int, int, int], cuts: tuple[tuple[int, ...], ...]) -> list[Box]:
    """The boxes between cuts along each axis."""
    spans = []
    for size, inner in zip(shape, cuts, strict=True):
        edges = sorted({0, size, *(c for c in inner if 0 < c < size)})
        spans.append([slice(a, b) for a, b in itertools.pairwise(edges)])
    return [(a, b, c) for a in spans[0] for b in spans[1] for c in spans[2]]


def kept(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """What a group keeps of values: the nearest float16, and 0 for those below the smallest normal one."""
    return np.where(values < np.finfo(np.float16).smallest_normal, 0, values).astype(np.float16)


def save(path: Path, maps: dict[str, NDArray[np.float32]], order: list[Box], **options: Any) -> None:
    writer = ZarrMaps(path, geometry(maps["entropy"].shape), CHANNELS, BOTH, **options)
    for box in order:
        for name in BOTH:
            writer.write(name, box, maps[name][(..., *box)])
    assert writer.save() == path


@settings(max_examples=25)
@given(data=st.data())
def test_every_voxel_is_kept_whatever_boxes_it_comes_in(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 140), st.integers(1, 9), st.integers(1, 80)))
    cuts = tuple(tuple(data.draw(st.lists(st.integers(1, n), max_size=3))) for n in shape)
    order = data.draw(st.permutations(boxes(shape, cuts)))
    # 1: every box is stored at once, and chunks that several boxes share are read again and again.
    waiting = data.draw(st.sampled_from([1, 200_000, 64_000_000]))
    maps = random_maps(shape, data.draw(st.integers(0, 1000)))
    path = tmp_path_factory.mktemp("maps") / "scan_seg_maps.zarr"

    save(path, maps, order, waiting_bytes=waiting)

    group = zarr.open_group(path, mode="r")
    for name in BOTH:
        np.testing.assert_array_equal(np.asarray(group[name]), kept(maps[name]))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_group_says_what_its_values_are_and_nothing_about_the_patient(tmp_path: Path) -> None:
    path = tmp_path / "scan_seg_maps.zarr"
    save(path, random_maps(SHAPE, 1), boxes(SHAPE, ((), (), ())))

    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 2
    assert set(group.attrs) == {"medseg_version", "channels", "affine_ras_mm", "spacing_mm"}
    assert [(c["name"], c["label_id"]) for c in group.attrs["channels"]] == list(CHANNELS)
    np.testing.assert_array_equal(group.attrs["affine_ras_mm"], AFFINE)
    np.testing.assert_allclose(group.attrs["spacing_mm"], np.linalg.norm(AFFINE[:3, :3], axis=0))
    shares, entropy = group["probabilities"], group["entropy"]
    assert (shares.shape, shares.dtype, shares.chunks) == ((3, *SHAPE), np.float16, (1, 64, 5, 64))
    assert (entropy.shape, entropy.dtype) == (SHAPE, np.float16)
    assert (shares.attrs["unit"], entropy.attrs["unit"]) == ("probability", "nat")
    # Format 2 as it is on disk: any reader finds the chunk of channel c and cube (i, j, k) there.
    assert json.loads((path / "probabilities" / ".zarray").read_text())["dimension_separator"] == "/"


def test_chunks_where_a_class_is_nowhere_take_no_space(tmp_path: Path) -> None:
    shape = (130, 64, 64)
    maps = {"probabilities": np.zeros((3, *shape), np.float32), "entropy": np.zeros(shape, np.float32)}
    maps["probabilities"][0] = 1
    maps["probabilities"][1] = 1e-12  # what a softmax gives a class that is out of the question
    maps["probabilities"][2, 70, 3, 4] = 0.5

    save(tmp_path / "a_maps.zarr", maps, boxes(shape, ((10, 90), (), (30,))))

    chunks = [
        str(file.relative_to(tmp_path / "a_maps.zarr" / "probabilities"))
        for file in (tmp_path / "a_maps.zarr" / "probabilities").rglob("*")
        if file.is_file() and not file.name.startswith(".")
    ]
    assert sorted(chunks) == ["0/0/0/0", "0/1/0/0", "0/2/0/0", "2/1/0/0"]
    assert (np.asarray(zarr.open_array(tmp_path / "a_maps.zarr" / "probabilities", mode="r"))[1] == 0).all()


def test_a_group_that_is_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a_maps.zarr"
    first, second = random_maps(SHAPE, 1), random_maps((4, 5, 6), 2)
    save(path, first, boxes(SHAPE, ((), (), ())))
    save(path, second, boxes((4, 5, 6), ((), (), ())))
    np.testing.assert_array_equal(
        np.asarray(zarr.open_array(path / "entropy", mode="r")), kept(second["entropy"])
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["a_maps.zarr"]


def test_maps_that_are_not_complete_are_refused_and_removed(tmp_path: Path) -> None:
    writer = ZarrMaps(tmp_path / "a_maps.zarr", geometry(), CHANNELS, ["entropy"])
    writer.write("entropy", (slice(0, 70), slice(0, 5), slice(0, 130)), np.ones((70, 5, 130), np.float32))
    with pytest.raises(WriteFailed, match=f"{70 * 5 * 130} of {70 * 5 * 131} voxels"):
        writer.save()
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_read_back_as_it_was_written_is_refused_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "a_maps.zarr"
    maps = random_maps((64, 5, 64), 1)
    writer = ZarrMaps(path, geometry((64, 5, 64)), CHANNELS, ["entropy"])
    writer.write("entropy", (slice(0, 64), slice(0, 5), slice(0, 64)), maps["entropy"])
    (temporary,) = tmp_path.iterdir()
    stored = zarr.open_array(temporary / "entropy", mode="r+")
    stored[3, 2, 1] = 9.0  # a disk that lies
    with pytest.raises(WriteFailed, match="did not read back"):
        writer.save()
    assert list(tmp_path.iterdir()) == []


def test_discard_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    writer = ZarrMaps(tmp_path / "a_maps.zarr", geometry(), CHANNELS, BOTH)
    writer.write("entropy", (slice(0, 70), slice(0, 5), slice(0, 131)), np.ones(SHAPE, np.float32))
    writer.discard()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_or_not_writable_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        ZarrMaps(tmp_path / "nowhere" / "a_maps.zarr", geometry(), CHANNELS, BOTH)
    if os.name == "posix" and os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(WriteFailed, match=r"a_maps\.zarr"):
            ZarrMaps(tmp_path / "a_maps.zarr", geometry(), CHANNELS, BOTH)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder in which a process was killed over its maps."""
    code = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from medseg.geometry import Geometry
from medseg.io.zarr_maps import ZarrMaps
path = Path({str(tmp_path)!r}) / "a_maps.zarr"
writer = ZarrMaps(path, Geometry((8, 8, 8), np.eye(4)), [("x", 1)], ["entropy"])
whole = (slice(0, 8),) * 3
writer.write("entropy", whole, np.ones((8, 8, 8), np.float32))
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_what_a_killed_process_left_is_cleared_by_the_next_one(killed: Path) -> None:
    (left,) = killed.iterdir()
    assert left.name.startswith(".a_maps.zarr.")
    save(killed / "b_maps.zarr", random_maps((4, 5, 6), 2), boxes((4, 5, 6), ((), (), ())))
    assert [entry.name for entry in killed.iterdir()] == ["b_maps.zarr"]


def test_after_a_restart_every_voxel_comes_anew_and_the_old_ones_are_gone(tmp_path: Path) -> None:
    maps = random_maps((70, 5, 6), 1)
    writer = ZarrMaps(tmp_path / "a_maps.zarr", geometry((70, 5, 6)), CHANNELS, ["probabilities"])
    order = boxes((70, 5, 6), ((64,), (), ()))
    writer.write("probabilities", order[0], np.ones((3, 64, 5, 6), np.float32))
    writer.restart()
    for box in order:
        writer.write("probabilities", box, maps["probabilities"][(..., *box)])
    writer.save()
    written = np.asarray(zarr.open_array(tmp_path / "a_maps.zarr" / "probabilities", mode="r"))
    np.testing.assert_array_equal(written, kept(maps["probabilities"]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a_maps.zarr"]
