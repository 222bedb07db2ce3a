"""Carried sums come back as they were put, from memory and from disk, and a full disk is named."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import WriteFailed
from medseg.inference.cells import Cells, DiskStore, MemoryStore, Store, free_disk

EVERYTHING = (slice(None), slice(None))


@pytest.mark.parametrize("on_disk", [False, True])
def test_regions_made_in_one_shape_are_taken_in_another(on_disk: bool, tmp_path: Path) -> None:
    store: Store = MemoryStore(lambda shape: np.empty(shape, np.float32))
    if on_disk:
        store = DiskStore(tmp_path, np.float32)
    plane = np.random.default_rng(0).normal(size=(2, 9, 7)).astype(np.float32)
    cells = Cells([{0, 2, 5, 6, 9}, {0, 3, 4, 7}], store)
    channels = [slice(0, 1), slice(1, 2)]
    for rows, columns in itertools.product([(0, 2), (2, 6), (6, 9)], [(0, 4), (4, 7)]):
        region = (slice(*rows), slice(*columns))
        for (r, c), piece in cells.make(region, lambda size: (2, *size)):
            for k in channels:
                piece.save(k, EVERYTHING, plane[(k, *region)][:, r, c])

    found = np.full_like(plane, np.nan)
    for rows, columns in itertools.product([(0, 5), (5, 6), (6, 9)], [(0, 3), (3, 7)]):
        region = (slice(*rows), slice(*columns))
        taken = cells.take(region)
        for (r, c), piece in taken:
            for k in channels:
                found[(k, *region)][:, r, c] = piece.load(k, EVERYTHING)
        cells.free(taken)
    np.testing.assert_array_equal(found, plane)
    assert cells.take((slice(0, 9), slice(0, 7))) == []
    store.close()


def test_a_part_of_a_piece_comes_back_from_disk(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, np.float16)
    piece, part = store.make((3, 4, 5)), (slice(0, 3), slice(1, 5))
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    piece.save(slice(1, 3), part, values)
    np.testing.assert_array_equal(piece.load(slice(2, 3), part), values[1:])
    store.close()


def test_the_scratch_file_has_no_name_and_its_room_is_used_again(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, np.float32)
    sizes = set()
    kept: list[Any] = []
    for n in range(20):
        piece = store.make((10, 10))
        piece.save(slice(0, 10), (slice(None),), np.full((10, 10), n))
        kept.append(piece)
        if len(kept) > 2:
            back = kept.pop(0)
            assert (back.load(slice(0, 10), (slice(None),)) == n - 2).all()
            store.free(back)
        sizes.add(store.size)
    if sys.platform != "win32":
        assert list(tmp_path.iterdir()) == []
    assert max(sizes) == 3 * 400
    store.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
def test_a_full_disk_is_named_with_the_cure(tmp_path: Path) -> None:
    code = f"""
        import resource, numpy as np
        from pathlib import Path
        from medseg.errors import WriteFailed
        from medseg.inference.cells import DiskStore
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        store = DiskStore(Path({str(tmp_path)!r}), np.float32)
        try:
            for n in range(100):
                store.make((1, 100)).save(slice(0, 1), (slice(None),), np.ones((1, 100)))
        except WriteFailed as error:
            print(n, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("25 ")
    assert "--scratch" in done.stdout
    assert tmp_path.name in done.stdout


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteFailed, match=r"nowhere.*no scratch file"):
        DiskStore(tmp_path / "nowhere", np.float32)
    assert free_disk(tmp_path / "nowhere") == 0


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no file system in memory here")
def test_a_file_system_in_memory_is_no_disk(tmp_path: Path) -> None:
    assert free_disk(Path("/dev/shm")) == 0
    assert free_disk(tmp_path) >= 0
