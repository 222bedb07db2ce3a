"""A small case to correct, and the state of a killed session: for the tests of sessions."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from napari_medseg.session import CorrectionSession
from numpy.typing import NDArray

from medseg import Geometry, LabelMap, LabelSet

SHAPE = (9, 7, 5)
LABELS = LabelSet.from_names({1: "tumour", 3: "oedema", 200: "vessel"})


def oblique() -> NDArray[np.float64]:
    """Index to world of an anisotropic grid, turned by 20 degrees."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    turn = np.array([[c, -s, 0, 11], [s, c, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1]])
    return turn @ np.diag([-0.8, 1.5, 4.0, 1.0])


def label_map(order: str = "F", dtype: str = "u1", seed: int = 0) -> LabelMap:
    """Random labels on that grid."""
    ids = np.random.default_rng(seed).choice([0, 0, 1, 3, 200], SHAPE).astype(dtype)
    return LabelMap(np.array(ids, order=order), Geometry(SHAPE, oblique()), LABELS)


def after_a_kill(session: CorrectionSession, root: Path) -> Path:
    """A copy of what lies on the disk, as a killed process would leave it; the session itself goes on."""
    return Path(shutil.copytree(session.folder, root / session.folder.name))


def replayed(folder: Path, shape: tuple[int, ...], order: str, dtype: str) -> NDArray[Any]:
    """The array of a session's folder, by the format as it is described, with struct and zlib alone.

    Also checks that each edit's old values are those that were there.
    """
    start = zlib.decompress((folder / "start").read_bytes())
    flat = np.frombuffer(start, dtype).copy()
    content = (folder / "journal").read_bytes()
    assert content.startswith(b"medseg journal 1\n")
    at, checksum, done, undone, last = 17, 0, [], [], None
    while at < len(content):
        length, of_length, of_body = struct.unpack_from("<III", content, at)
        body = content[at + 12 : at + 12 + length]
        assert zlib.crc32(content[at : at + 4], checksum) == of_length
        assert zlib.crc32(body, of_length) == of_body
        checksum, at, kind = of_body, at + 12 + length, body[0]
        if kind == 1:
            step, count, width = struct.unpack_from("<IQB", body, 9)
            stream = zlib.decompress(body[22:])
            places = np.cumsum(np.frombuffer(stream, f"<u{width}", count).astype(np.int64))
            old, new = np.frombuffer(stream, dtype, offset=count * width).reshape(2, count)
            np.testing.assert_array_equal(flat[places], old)
            assert (old != new).all()
            assert (np.diff(places) > 0).all()
            flat[places] = new
            if step != last:
                done.append([])
            done[-1].append((places, old, new))
            undone, last = [], step
        elif kind == 2:
            undone.append(done.pop())
            for places, old, _ in reversed(undone[-1]):
                flat[places] = old
            last = None
        elif kind == 3:
            done.append(undone.pop())
            for places, _, new in done[-1]:
                flat[places] = new
            last = None
    return flat.reshape(shape, order=order)
