"""What a session's folder holds beside the edits: the facts of its case, and the array it began with.

``journal`` is the file of `napari_medseg.recovery.journal`; ``start`` is one zlib stream of the starting
array's values, little-endian, along memory (order ``"F"``: i fastest, ``"C"``: k fastest, as the facts say).
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medseg import Geometry, Label, LabelSet
from napari_medseg.recovery.differences import BLOCK_VOXELS
from napari_medseg.recovery.journal import damaged, new_journal
from napari_medseg.recovery.known_scan import KnownScan

JOURNAL, START = "journal", "start"
FORMAT_VERSION = 1
_COMPRESSION_LEVEL = 1
_READ_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class SessionFacts:
    """The case of a session, as its journal's header has it.

    Parameters
    ----------
    case
        Its name, as shown to the user.
    geometry, labels
        Grid and label set of the array that the session began with.
    dtype, order
        Of the array: an unsigned integer type, and ``"F"`` or ``"C"``.
    scan
        The scan that it began with, if there was one.
    labels_path, labels_sha256
        The file that the labels were read from, and its SHA-256 then; None where they began empty.
    start_sha256
        Of the starting array's values, little-endian, along memory.
    started
        Seconds since 1970.
    model
        ``name`` and ``sha256`` of the model that made the labels in the window; None where no model did, or
        where ``labels_path`` has a sidecar that tells.
    """

    case: str
    geometry: Geometry
    labels: LabelSet
    dtype: np.dtype[Any]
    order: str
    scan: KnownScan
    labels_path: Path | None
    labels_sha256: str | None
    start_sha256: str
    started: float
    model: Mapping[str, str | None] | None = None

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Shape of the array with the axis of the largest stride first."""
        return self.geometry.shape[::-1] if self.order == "F" else self.geometry.shape

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers keep every bit."""
        return {
            "format_version": FORMAT_VERSION,
            "case": self.case,
            "shape": list(self.geometry.shape),
            "affine": self.geometry.affine.tolist(),
            "is_2d": self.geometry.is_2d,
            "spacing_known": self.geometry.spacing_known,
            "labels": labels_to_json(self.labels),
            "dtype": self.dtype.newbyteorder("<").str,
            "order": self.order,
            **self.scan.to_json(),
            "labels_path": None if self.labels_path is None else str(self.labels_path),
            "labels_sha256": self.labels_sha256,
            "start_sha256": self.start_sha256,
            "started": self.started,
            "model": None if self.model is None else dict(self.model),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], path: Path) -> SessionFacts:
        """The facts in the journal at ``path``.

        Raises
        ------
        InputRefused
            ``journal-damaged`` where a field is missing or impossible, or the format is another one.
        """
        if document.get("format_version") != FORMAT_VERSION:
            found = document.get("format_version")
            raise damaged(
                path, f"format {found}, this medseg reads {FORMAT_VERSION}: use the one that wrote it"
            )
        try:
            return cls(
                case=str(document["case"]),
                geometry=Geometry(
                    tuple(document["shape"]),
                    np.array(document["affine"]),
                    is_2d=bool(document["is_2d"]),
                    spacing_known=bool(document["spacing_known"]),
                ),
                labels=labels_from_json(document["labels"]),
                dtype=np.dtype(document["dtype"]).newbyteorder("="),
                order=str(document["order"]),
                scan=KnownScan.from_json(document),
                labels_path=None if document["labels_path"] is None else Path(document["labels_path"]),
                labels_sha256=document["labels_sha256"],
                start_sha256=str(document["start_sha256"]),
                started=float(document["started"]),
                model=None if document["model"] is None else dict(document["model"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"its header does not describe a case: {error!r}") from error


def labels_to_json(labels: LabelSet) -> dict[str, Any]:
    """A label set as plain values."""
    listed = [
        {"id": one.id, "name": one.name, "colour": list(one.colour), "snomed": one.snomed} for one in labels
    ]
    return {"background": labels.background, "labels": listed}


def labels_from_json(document: Mapping[str, Any]) -> LabelSet:
    """The way back. Raises KeyError, TypeError or ValueError where it does not describe a label set."""
    listed = (
        Label(one["id"], one["name"], tuple(one["colour"]), one["snomed"]) for one in document["labels"]
    )
    return LabelSet(tuple(listed), document["background"])


def write_start(path: Path, array: NDArray[Any]) -> str:
    """Write an array in memory order (`in_memory_order`) as a new file; returns its values' SHA-256."""
    digest = hashlib.sha256()
    packer = zlib.compressobj(_COMPRESSION_LEVEL)
    with path.open("xb") as file:
        for plane in array:
            content = plane.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            digest.update(content)
            file.write(packer.compress(content))
        file.write(packer.flush())
        flush(file)
    return digest.hexdigest()


def write_journal(path: Path, facts: SessionFacts) -> None:
    """Write a new journal that holds the facts alone."""
    with path.open("xb") as file:
        file.write(new_journal(facts.to_json(), facts.started))
        flush(file)


def flush(file: IO[bytes]) -> None:
    """Wait until what was written to a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def start_blocks(path: Path, facts: SessionFacts) -> Iterator[NDArray[Any]]:
    """The starting array's values along memory, one piece after another.

    Raises
    ------
    InputRefused
        ``journal-damaged`` if the file is not what its facts say; pieces that came before may be wrong.
    """
    left = int(np.prod(facts.memory_shape)) * facts.dtype.itemsize
    digest = hashlib.sha256()
    unpacker = zlib.decompressobj()
    with path.open("rb") as file:
        while left:
            wanted = min(left, BLOCK_VOXELS * facts.dtype.itemsize)
            content = _unpacked(path, unpacker, file, wanted)
            digest.update(content)
            left -= wanted
            yield np.frombuffer(content, facts.dtype.newbyteorder("<")).astype(facts.dtype, copy=False)
    if digest.hexdigest() != facts.start_sha256:
        raise damaged(path, "the array that the session began with does not have its checksum")


def read_start(path: Path, facts: SessionFacts) -> NDArray[Any]:
    """The starting array in memory order, a new one, checked. Errors are those of `start_blocks`."""
    flat = np.empty(int(np.prod(facts.memory_shape)), facts.dtype)
    filled = 0
    for block in start_blocks(path, facts):
        flat[filled : filled + len(block)] = block
        filled += len(block)
    return flat.reshape(facts.memory_shape)


def _unpacked(path: Path, unpacker: Any, file: Any, size: int) -> bytes:
    pieces, missing = [], size
    while missing:
        packed = unpacker.unconsumed_tail or file.read(_READ_AT_ONCE)
        if not packed:
            raise damaged(path, "the array that the session began with ends too early")
        try:
            piece = unpacker.decompress(packed, missing)
        except zlib.error as error:
            raise damaged(path, "the array that the session began with cannot be unpacked") from error
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
