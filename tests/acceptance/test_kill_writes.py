"""SIGKILL at random instants while files are written: what bears a final name is whole, and litter goes.

Outside CI: about a minute. MEDSEG_KILLS sets the number of kills (default 200).
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

import medseg

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forked, to start them quickly")

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("MEDSEG_KILLS", "200"))
AFFINE = np.diag([-0.8, -1.1, 2.0, 1.0])
SHAPE, FLAT = (90, 80, 60), (900, 700, 1)
NAMES = ("a.nii.gz", "b.nii", "c.nrrd", "d.seg.nrrd", "e.mha", "f.png", "g.tif")


def _items(version: int) -> dict[str, Any]:
    """What is written under each name, in its first or its second version."""
    draw = np.random.default_rng(version)
    scan = medseg.Volume(draw.integers(0, 300, (1, *SHAPE)).astype(np.int16), medseg.Geometry(SHAPE, AFFINE))
    ids = draw.integers(0, 3, SHAPE).astype(np.uint8)
    labels = medseg.LabelMap(ids, scan.geometry, medseg.LabelSet.from_ids(range(3)))
    plane = medseg.Geometry(FLAT, np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True, spacing_known=False)
    picture = medseg.Volume(draw.integers(0, 255, (1, *FLAT)).astype(np.uint8), plane)
    kinds = {"d.seg.nrrd": labels, "f.png": picture, "g.tif": picture}
    return {name: kinds.get(name, scan) for name in NAMES}


def _voxels(item: Any) -> NDArray[Any]:
    found: NDArray[Any] = item.data if item.data.ndim == 3 else item.data[0]
    return found


def _read(path: Path) -> NDArray[Any]:
    """What another library finds in a file."""
    if ".nii" in path.name:
        return np.asanyarray(nibabel.load(path).dataobj)
    if path.suffix in (".png", ".tif"):
        with Image.open(path) as image:
            return np.array(image).T[..., None]
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)


def write_without_end() -> None:
    """The nursery: forks a writer for each line on standard input, kills it at the next line."""
    versions = [_items(0), _items(1)]
    with tempfile.TemporaryDirectory() as folder:  # imports everything
        for name, item in versions[0].items():
            medseg.write(item, Path(folder) / name)
    print("ready", flush=True)
    for line in sys.stdin:
        folder, first = line.strip().split("\t")
        writer = os.fork()
        if writer == 0:
            for n in itertools.count(int(first)):
                name = NAMES[n % len(NAMES)]
                medseg.write(versions[n // len(NAMES) % 2][name], Path(folder) / name, overwrite=True)
        print("started", flush=True)
        sys.stdin.readline()
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        print("killed", flush=True)


@contextmanager
def _nursery() -> Iterator[Callable[[str], None]]:
    command = [sys.executable, "-c", f"from {__name__} import write_without_end as run; run()"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    def tell(line: str) -> None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.readline() in ("started\n", "killed\n")

    try:
        yield tell
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def test_killed_at_random_instants_leaves_whole_files_and_the_next_write_no_litter(tmp_path: Path) -> None:
    versions = [{name: _voxels(item) for name, item in _items(v).items()} for v in (0, 1)]
    draw, seen = random.Random(11), Counter[str]()
    small = medseg.Volume(np.zeros((1, 3, 4, 5), np.uint8), medseg.Geometry((3, 4, 5), AFFINE))
    start = time.perf_counter()
    for item, name in ((_items(0)[name], name) for name in NAMES):
        medseg.write(item, tmp_path / name)
    duration = time.perf_counter() - start

    with _nursery() as tell:
        for kill in range(KILLS):
            folder = tmp_path / f"run{kill // 10}"  # every tenth begins without files
            folder.mkdir(exist_ok=True)
            before = {path.name for path in folder.iterdir()}
            tell(f"{folder}\t{draw.randrange(2 * len(NAMES))}")
            time.sleep(draw.uniform(0, 1.5 * duration))
            tell("kill")
            names = {path.name for path in folder.iterdir()}
            assert before <= names
            for name in names & set(NAMES):
                found = _read(folder / name)
                which = [v for v in (0, 1) if np.array_equal(found, versions[v][name])]
                assert which, f"{name} is neither version"
                seen[f"{name} version {which[0]}"] += 1
            litter = {name for name in names if name.startswith(".")}
            seen["killed in the middle of a write"] += bool(litter)
            medseg.write(small, folder / "next.nii", overwrite=True)
            assert {path.name for path in folder.iterdir()} - set(NAMES) == {"next.nii"}
    print(dict(seen))
    # The kills have hit what they were meant to hit: every file in both versions, and many an open one.
    assert seen["killed in the middle of a write"] > KILLS // 4
    assert all(seen[f"{name} version {v}"] for name in NAMES for v in (0, 1)), seen
