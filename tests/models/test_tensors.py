"""The layout of a safetensors file is that which the safetensors library sees, or it is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from medseg.errors import ModelRefused
from medseg.models.tensors import read_layout


def test_spans_hold_the_bytes_of_each_tensor(tmp_path):
    path = tmp_path / "w.safetensors"
    random = np.random.default_rng(0)
    tensors = {
        "a": random.normal(size=(3, 5, 7)).astype(np.float32),
        "b": random.normal(size=11).astype(np.float16),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.array(3.5),
        "n": np.arange(6, dtype=np.int64).reshape(2, 3),
    }
    save_file(tensors, path, {"note": "metadata is no tensor"})
    layout, raw = read_layout(path), path.read_bytes()
    assert layout == read_layout(raw)
    with safe_open(path, "numpy") as library:
        assert set(layout.spans) == set(library.keys())
        for name, span in layout.spans.items():
            expected = library.get_tensor(name)
            assert span.shape == expected.shape
            assert raw[span.start : span.stop] == expected.tobytes()


def header(entries: object, data: bytes = bytes(16)) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(start: int, stop: int, shape: list, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"1234567", bytes(8), (2**62).to_bytes(8, "little") + b"{}", header(b"{"), header([1]),
        header({"a": 1}), header({"a": {"dtype": "F32"}}), header({"a": tensor(0, 16, [4], "PICKLE")}),
        header({"a": tensor(0, 16, [5])}), header({"a": tensor(-16, 0, [4])}),
        header({"a": tensor(0, 16, [-4])}),
        header({"a": tensor(0, 32, [8])}), header({"a": tensor(0, 8, [2])}),
        header({"a": tensor(0, 12, [3]), "b": tensor(8, 16, [2])}), header({"a": tensor(0, 16, [4.0])}),
        header({"a": tensor(4, 16, [3])}), header(b"[" * 100_000),
    ],
)  # fmt: skip
def test_headers_that_contradict_the_file_are_refused(raw):
    with pytest.raises(ModelRefused):
        read_layout(raw)
