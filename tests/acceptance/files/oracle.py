"""The second opinion: is what medseg read what the file says?

Run by `watched.Watched`, in a process of its own, because libraries crash on some of these files.
An answer is ``equal`` (an independent library reads the same voxels at the same places), ``original``
(no library reads the file any more, and medseg has given the voxels from before the damage) or ``other``.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.acceptance.files import oracle_dicom, oracle_grids, oracle_labels

_CORNER_MM = 1e-3
_LARGEST_MEMORY = 4 << 30
_CHECKS: dict[str, tuple[tuple[str, oracle_dicom.Check], ...]] = {
    "dicom": oracle_dicom.CHECKS,
    "seg": (
        ("pydicom", oracle_labels.check_segmentation),
        ("dcmtk", oracle_labels.check_segmentation_with_dcmtk),
    ),
    "rtstruct": (("pydicom and matplotlib", oracle_labels.check_structures),),
}


def main() -> None:
    """Answer questions until there are no more."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_LARGEST_MEMORY, _LARGEST_MEMORY))
    warnings.simplefilter("ignore")
    questions, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    for question in questions:
        answers.write(json.dumps(_judge(json.loads(question))) + "\n")
        answers.flush()


def _judge(question: dict[str, Any]) -> dict[str, str]:
    found = Found.of(question["result"])
    notes = []
    for name, check in _checks(question, found):
        try:
            problem = check()
        except Exception as error:  # noqa: BLE001 - whatever a library does with such a file, it has not read it
            notes.append(f"{name} refuses: {type(error).__name__} {error}"[:200])
            continue
        if not problem:
            return {"judgement": "equal", "by": name}
        notes.append(f"{name}: {problem}")
    before = question["original"] and found.differs_from(Found.of(question["original"]))
    if before == "":
        return {"judgement": "original", "by": "; ".join(notes)}
    return {"judgement": "other", "by": "; ".join([*notes, f"before the damage: {before}"])}


class Found:
    """What medseg has read: voxels (C, I, J, K) and index to world RAS+ mm."""

    def __init__(self, data: NDArray[Any], affine: NDArray[np.float64]) -> None:
        self.data = data if data.ndim == 4 else data[None]
        self.affine = affine

    @classmethod
    def of(cls, result: str) -> Found:
        """As the process under test has saved it."""
        return cls(np.load(result + ".data.npy"), np.load(result + ".affine.npy"))

    def differs_from(self, other: Found) -> str:
        """What is different, in words; ``""`` for nothing."""
        if self.data.shape != other.data.shape:
            return f"shape {self.data.shape}, the oracle's {other.data.shape}"
        corners = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)]).T
        corners[:3] *= np.array(self.data.shape[1:])[:, None] - 1
        away = np.abs((self.affine - other.affine) @ corners).max()
        if not away <= _CORNER_MM + 1e-6 * np.abs(other.affine @ corners).max():
            return f"corners {away:.3g} mm apart"
        if not same_numbers(self.data, other.data):
            return f"{int((self.data != other.data).sum())} of {self.data.size} voxels differ"
        return ""


def same_numbers(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether numbers agree: whole ones exactly, scaled ones within the rounding of float32."""
    if np.array_equal(found, expected):
        return True
    if found.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):
        expected = expected.astype(np.float64)
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        return bool(np.allclose(found.astype(np.float64), expected, rtol=2e-6, atol=1e-6 * largest))


def _checks(question: dict[str, Any], found: Found) -> Iterator[tuple[str, Callable[[], str]]]:
    path, family, options = Path(question["path"]), question["family"], question["options"]
    for name, check in _CHECKS.get(family, ()):
        yield name, lambda check=check: check(path, options, found)
    for name, reader in oracle_grids.READERS.get(family, ()):
        yield name, lambda reader=reader: found.differs_from(Found(*reader(path, options)))


if __name__ == "__main__":
    main()
