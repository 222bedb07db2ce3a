"""Values for the fields of binary headers, drawn by hypothesis, and files that bear them.

The strategies lean to the ends of every type: what a header may say is all that its bytes can say.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import nibabel
import numpy as np
import pydicom
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tests.acceptance.files.canary import CANARY
from tests.acceptance.files.seeds_dicom import saved_raw, set_raw

_BATCH = 400
_FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    1e-38,
    1e30,
    3e38,
    -3e38,
    1e5,
    float("nan"),
    float("inf"),
    float("-inf"),
)


def _numbers(kind: np.dtype[Any]) -> st.SearchStrategy[Any]:
    if kind.kind == "f":
        return st.one_of(st.sampled_from(_FLOATS), st.floats(width=8 * kind.itemsize))
    limits = np.iinfo(kind)
    low, high = int(limits.min), int(limits.max)
    near = sorted({low, low + 1, high, high - 1, 0, 1, min(high, 2), min(high, 348), max(low, -1), high >> 1})
    return st.one_of(st.sampled_from(near), st.integers(0, min(high, 20)), st.integers(low, high))


@cache
def _nifti_field(version: int) -> st.SearchStrategy[tuple[str, int, Any]]:
    """(field, index in it, value) of a NIfTI header."""
    layout = {1: nibabel.Nifti1Header, 2: nibabel.Nifti2Header}[version].template_dtype
    choices = []
    for name in layout.names:
        kind = layout[name].base
        size = int(np.prod(layout[name].shape)) if layout[name].shape else 1
        if kind.kind == "S":
            texts = st.one_of(st.just(CANARY.encode()), st.binary(max_size=kind.itemsize))
            choices.append(st.tuples(st.just(name), st.just(-1), texts))
        else:
            choices.append(st.tuples(st.just(name), st.integers(0, size - 1), _numbers(kind)))
    return st.one_of(choices)


# Elements that decide what is read, with the values that their kind of text or number may hold.
_TEXT = st.one_of(
    st.sampled_from([
        b"", b"0", b"-1", b"1", b"2", b"1e308", b"nan", b"inf", b"-inf", b"1e-320", b"999999999999", b"0.0",
        b"1\\2", b"1\\2\\3", b"0\\0\\0", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\1\\0\\0",
        b"nan\\0\\0", b"1e30\\0\\0", b"0.5\\0.5", b"1e-300\\1e-300", b"-1\\1", b"1_0", b"1,5", b" 3 ",
        b"3\0", b"CT", b"MR", b"SEG", b"RTSTRUCT", b"SR", b"LOCALIZER", b"ORIGINAL\\PRIMARY\\LOCALIZER",
        b"RGB", b"MONOCHROME1", b"PALETTE COLOR", b"YBR_FULL", b"BINARY", b"FRACTIONAL", b"LABELMAP",
        b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99",
        b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.5", b"1.2.3", b"ISO_IR 192", b"ISO 2022 IR 87",
        CANARY.encode(), CANARY.encode() + b"\\1\\2",
    ]),
    st.binary(max_size=40),
)  # fmt: skip
_SHORT = _numbers(np.dtype("u2")).map(lambda n: struct.pack("<H", n))
_WIDE = st.one_of(
    _numbers(np.dtype("u4")).map(lambda n: struct.pack("<I", n)),
    _numbers(np.dtype("f4")).map(lambda n: struct.pack("<f", n)),
    _numbers(np.dtype("f8")).map(lambda n: struct.pack("<d", n)),
    st.binary(max_size=24),
)
_VALUE_OF = {
    "US": _SHORT,
    "SS": _SHORT,
    "UL": _WIDE,
    "FL": _WIDE,
    "FD": _WIDE,
    "OB": _WIDE,
    "OW": _WIDE,
    "UN": _WIDE,
}
_NEW_TAGS = (
    0x00080008, 0x00080060, 0x00180050, 0x00180086, 0x00189087, 0x00200032, 0x00200037, 0x00200100,
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280030, 0x00280100,
    0x00280101, 0x00280102, 0x00280103, 0x00281052, 0x00281053, 0x00283000, 0x00282110, 0x00080005,
    0x0020000E, 0x00200052,
)  # fmt: skip


class _Draws:
    """Values of a strategy, one by one; hypothesis makes them in batches, the same for the same seed."""

    def __init__(self, strategy: st.SearchStrategy[Any], number: int) -> None:
        self.strategy, self.number, self.waiting = strategy, number, iter(())  # type: ignore[var-annotated]

    def next(self) -> Any:
        for value in self.waiting:
            return value
        self.number += 1
        self.waiting = iter(_batch(self.strategy, self.number))
        return next(self.waiting)


def _batch(strategy: st.SearchStrategy[Any], number: int) -> list[Any]:
    found: list[Any] = []

    @seed(number)
    @settings(max_examples=_BATCH, database=None, phases=[Phase.generate], deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


_draws: dict[str, _Draws] = {}


def _draw(draw: Random, name: str, strategy: st.SearchStrategy[Any]) -> Any:
    if name not in _draws:
        _draws[name] = _Draws(strategy, draw.randrange(1 << 30))
    return _draws[name].next()


def mutate_nifti(draw: Random, content: bytes, other: bytes) -> bytes:
    """One to three fields of a NIfTI header; files that are compressed or no NIfTI are left alone."""
    layouts = {348: (1, nibabel.Nifti1Header), 540: (2, nibabel.Nifti2Header)}
    for order in "<>":
        version, kind = layouts.get(struct.unpack(order + "i", content[:4].ljust(4, b"\0"))[0], (0, None))
        if kind is None or len(content) < kind.template_dtype.itemsize:
            continue
        layout = kind.template_dtype.newbyteorder(order)
        header = np.frombuffer(content[: layout.itemsize], layout).copy()
        for _ in range(draw.choice((1, 1, 2, 3))):
            name, index, value = _draw(draw, f"nifti{version}", _nifti_field(version))
            with np.errstate(over="ignore"):
                if index < 0:
                    header[name][0] = value
                else:
                    header[name].reshape(-1)[index] = value
        return header.tobytes() + content[layout.itemsize :]
    return content[:-1]


def mutate_dicom(draw: Random, content: bytes, other: bytes) -> bytes:
    """One or two elements of a DICOM object, anywhere in its tree, with any bytes as their value."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            item = pydicom.dcmread(io.BytesIO(content))
            for _ in range(draw.choice((1, 1, 2))):
                _set_element(draw, item)
            return saved_raw(item)
    except Exception:  # noqa: BLE001 - damaged in an earlier round, or more than pydicom can write
        return content[:-2]


def _set_element(draw: Random, item: Dataset) -> None:
    places = list(_datasets(item))
    # Elements of frames and items are many, those at the top decide most.
    place = item if draw.random() < 0.5 else draw.choice(places)
    tags = [tag for tag in place.keys() if tag != 0x7FE00010] or list(_NEW_TAGS)  # noqa: SIM118 - tags, not elements
    kind = draw.random()
    if kind < 0.1:
        del place[
            draw.choice(
                [t for t in tags if t in place] or [place.add_new(0x00080060, "CS", "CT") or 0x00080060]
            )
        ]
        return
    tag = pydicom.tag.Tag(draw.choice(_NEW_TAGS) if kind < 0.5 else draw.choice(tags))
    known = pydicom.datadict.dictionary_VR(tag) if pydicom.datadict.dictionary_has_tag(tag) else "UN"
    vr = known.partition(" ")[0]
    if vr == "SQ":
        place[tag].value.extend(place[tag].value[:1]) if tag in place else None
        return
    value = _draw(draw, f"dicom {vr}", _VALUE_OF.get(vr, _TEXT))
    set_raw(place, tag, value)


def _datasets(item: Dataset) -> Iterator[Dataset]:
    yield item
    for element in item:
        if element.VR == "SQ":
            for inner in element.value:
                yield from _datasets(inner)
