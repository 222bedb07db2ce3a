"""What an ONNX file reads and runs is found wherever it hides; the onnx package is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from medseg.errors import ModelRefused, WriteFailed
from medseg.models import load_model, verify_bundle
from medseg.models.onnx_external import check_onnx, read_onnx
from medseg.models.tensors import read_layout

SAFE = {"location": "model.safetensors", "offset": "80", "length": "16"}


def external(name: str, **entries: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (SAFE | entries).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(tensor: TensorProto) -> Any:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def graph(nodes: list[Any] = (), initialisers: list[TensorProto] = ()) -> Any:
    return helper.make_graph(list(nodes), "g", [], [], list(initialisers))


def in_initialiser(tensor: TensorProto) -> Any:
    return helper.make_model(graph(initialisers=[tensor]))


def in_constant_node(tensor: TensorProto) -> Any:
    return helper.make_model(graph([constant(tensor)]))


def in_branch_of_if(tensor: TensorProto) -> Any:
    inner = graph([constant(external("fine"))], [tensor])
    outer = graph([helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=graph())])
    return helper.make_model(graph([helper.make_node("Loop", ["i"], ["o"], body=outer)]))


def in_list_of_tensors(tensor: TensorProto) -> Any:
    return helper.make_model(graph([helper.make_node("Any", [], ["o"], several=[external("fine"), tensor])]))


def in_list_of_graphs(tensor: TensorProto) -> Any:
    return helper.make_model(
        graph([helper.make_node("Any", [], ["o"], several=[graph(initialisers=[tensor])])])
    )


def in_sparse_initialiser(tensor: TensorProto) -> Any:
    indices = numpy_helper.from_array(np.arange(4), "i")
    model = helper.make_model(graph())
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [9]))
    return model


def in_sparse_attribute(tensor: TensorProto) -> Any:
    indices = numpy_helper.from_array(np.arange(4), "i")
    sparse = helper.make_sparse_tensor(tensor, indices, [9])
    return helper.make_model(graph([helper.make_node("Constant", [], ["c"], sparse_value=sparse)]))


def in_function(tensor: TensorProto) -> Any:
    function = helper.make_function("", "f", [], ["c"], [constant(tensor)], [helper.make_opsetid("", 18)])
    return helper.make_model(graph(), functions=[function])


def in_training_info(tensor: TensorProto) -> Any:
    model = helper.make_model(graph())
    model.training_info.add().algorithm.CopyFrom(graph(initialisers=[tensor]))
    return model


PLACES = [
    in_initialiser, in_constant_node, in_branch_of_if, in_list_of_tensors, in_list_of_graphs,
    in_sparse_initialiser, in_sparse_attribute, in_function, in_training_info,
]  # fmt: skip


@pytest.fixture
def layout(tmp_path):
    from safetensors.numpy import save_file

    save_file(
        {"w": np.arange(4, dtype=np.float32), "v": np.ones(3, np.float32)}, tmp_path / "model.safetensors"
    )
    return read_layout(tmp_path / "model.safetensors")


@pytest.fixture
def inside(layout) -> dict[str, str]:
    span = layout.spans["w"]
    return {"offset": str(span.start), "length": str(span.stop - span.start)}


@pytest.mark.parametrize("place", PLACES)
def test_an_external_tensor_is_found_wherever_it_stands(place: Callable[[TensorProto], Any], layout, inside):
    raw = place(external("hidden", location="../../etc/passwd")).SerializeToString()
    assert onnx.load_from_string(raw).ByteSize() == len(raw)
    found = {t.name: t.external for t in read_onnx(raw).tensors}
    assert found["hidden"]["location"] == "../../etc/passwd"
    with pytest.raises(ModelRefused, match=r"'hidden'.*etc/passwd|'fine'"):
        check_onnx(raw, layout)


@pytest.mark.parametrize("place", PLACES)
def test_a_foreign_operator_domain_is_found_wherever_it_stands(place, layout, inside):
    model = place(external("w", **inside))
    model.graph.node.append(helper.make_node("Run", [], ["x"], domain="evil.ops"))
    with pytest.raises(ModelRefused, match=r"evil\.ops"):
        check_onnx(model.SerializeToString(), layout)


@pytest.mark.parametrize("where", ["opset", "function", "node in function", "node in branch"])
def test_every_way_to_name_a_domain_is_refused(where, layout):
    model = helper.make_model(graph(), opset_imports=[helper.make_opsetid("", 18)])
    node = helper.make_node("Run", [], ["x"], domain="evil.ops" if "node" in where else "")
    if where == "opset":
        model.opset_import.add(domain="evil.ops", version=1)
    elif "function" in where:
        domain = "" if "node" in where else "evil.ops"
        model.functions.append(helper.make_function(domain, "f", [], ["x"], [node], []))
    else:
        model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=graph([node])))
    with pytest.raises(ModelRefused, match=r"evil\.ops"):
        check_onnx(model.SerializeToString(), layout)


@pytest.mark.parametrize(
    "location",
    [
        "../model.safetensors", "./model.safetensors", "/model.safetensors", "model.safetensors/", "",
        "MODEL.safetensors", "model.safetensors\0", "sub/model.safetensors", "*/_ORT_MEM_ADDR_/*",
        "other.bin", "C:\\model.safetensors", "file:model.safetensors",
    ],
)  # fmt: skip
def test_external_data_may_only_lie_in_the_safetensors_file_beside(location, layout, inside):
    raw = in_initialiser(external("w", **(inside | {"location": location}))).SerializeToString()
    with pytest.raises(ModelRefused, match=r"expected 'model\.safetensors'"):
        check_onnx(raw, layout)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        ("0", "8"), ("8", "16"), ("-1", "16"), ("1e2", "16"), ("", "16"), ("99999999999999999999", "16"),
        ("{start}", "{too_long}"), ("{size}", "1"), ("{start}", "-4"), ("0x60", "16"), ("{start}", ""),
        ("٣", "16"),
    ],
)  # fmt: skip
def test_offsets_outside_the_tensors_are_refused(offset, length, layout):
    start = min(span.start for span in layout.spans.values())
    known = {"{start}": start, "{size}": layout.size, "{too_long}": layout.size - start + 1}
    entries = {"offset": str(known.get(offset, offset)), "length": str(known.get(length, length))}
    with pytest.raises(ModelRefused, match=r"whole numbers of bytes|whose tensors are bytes"):
        check_onnx(in_initialiser(external("w", **entries)).SerializeToString(), layout)


def test_a_tensor_marked_external_without_a_place_is_refused(layout):
    tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    with pytest.raises(ModelRefused, match="lies in None"):
        check_onnx(in_initialiser(tensor).SerializeToString(), layout)


def test_a_place_without_the_mark_is_refused_too(layout):
    tensor = external("w", location="/etc/passwd")
    tensor.ClearField("data_location")
    with pytest.raises(ModelRefused, match="etc/passwd"):
        check_onnx(in_initialiser(tensor).SerializeToString(), layout)


def test_a_place_stated_twice_is_refused(layout, inside):
    tensor = external("w", **inside)
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ModelRefused, match="twice"):
        check_onnx(in_initialiser(tensor).SerializeToString(), layout)


def test_a_sound_file_passes_and_its_tensors_are_those_onnx_sees(layout, inside):
    values = {
        "f": np.arange(10, dtype=np.float32),
        "d": np.arange(10, dtype=np.float64) / 3,
        "h": np.arange(10, dtype=np.float16),
        "i": np.arange(4),
    }
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    tensors.append(helper.make_tensor("typed f", TensorProto.FLOAT, [10], values["f"].tolist()))
    tensors.append(helper.make_tensor("typed d", TensorProto.DOUBLE, [10], values["d"].tolist()))
    tensors.append(helper.make_tensor("typed h", TensorProto.FLOAT16, [2, 5], values["h"].tolist()))
    raw = helper.make_model(graph(initialisers=[external("w", **inside), *tensors])).SerializeToString()
    found = {t.name: t for t in check_onnx(raw, layout).tensors}
    assert found["w"].external == SAFE | inside
    for tensor in tensors:
        if tensor.name == "i":
            continue
        assert found[tensor.name].raw == numpy_helper.to_array(tensor).tobytes()
        assert found[tensor.name].dims == tuple(tensor.dims)


def test_nesting_without_end_is_refused():
    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    deep = b""
    for _ in range(400):  # graph > node > attribute > graph > ...
        deep = field(1, field(5, field(6, deep)))
    with pytest.raises(ModelRefused, match="nested"):
        read_onnx(field(7, deep))


_SOUND = in_branch_of_if(external("w", offset="9", length="9")).SerializeToString()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_never_do_more_than_be_refused(data):
    raw = bytearray(_SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.integers(0, len(raw))) :]
    try:
        read_onnx(bytes(raw))
    except ModelRefused as error:
        assert "not a well-formed ONNX file" in str(error)  # noqa: PT017 - whether it raises is free


def test_layers_that_were_swapped_are_found(save, onnx_of, tmp_path):
    weights = {
        "first.weight": np.random.default_rng(0).normal(size=(6, 1, 3, 3, 3)).astype(np.float16),
        "last.weight": np.random.default_rng(1).normal(size=(3, 6, 1, 1, 1)).astype(np.float32),
        "last.bias": np.random.default_rng(2).normal(size=3).astype(np.float32),
        "last.other": np.random.default_rng(3).normal(size=(3, 6, 1, 1, 1)).astype(np.float32),
    }

    def swapped(path):
        model = onnx_of(path)
        span = read_layout(path).spans["last.other"]
        entries = {entry.key: entry for entry in model.graph.initializer[1].external_data}
        entries["offset"].value = str(span.start)
        return model.SerializeToString()

    with pytest.raises(WriteFailed, match=r"'last\.weight' is no tensor"):
        save(tmp_path / "toy", weights=weights, build_onnx=swapped)


@pytest.mark.parametrize("change", [0.0, 1e-3])
def test_weights_inside_the_onnx_file_are_compared_by_value(save, onnx_of, tmp_path, weights, change):
    def inlined(path):
        model = onnx_of(path)
        value = weights["last.weight"].copy()
        value[2, 3] += change
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(value, "renamed"))
        model.graph.node[3].input[1] = "renamed"
        return model.SerializeToString()

    if change == 0:
        assert verify_bundle(load_model(save(tmp_path / "toy", build_onnx=inlined).path)) == []
        return
    with pytest.raises(WriteFailed, match="'renamed' is no tensor"):
        save(tmp_path / "toy", build_onnx=inlined)


def test_a_weight_that_the_onnx_file_leaves_out_is_found(save, weights, tmp_path):
    weights["forgotten.weight"] = np.arange(24, dtype=np.float32)
    with pytest.raises(WriteFailed, match=r"does not use forgotten\.weight"):
        save(tmp_path / "toy", weights=weights)
    weights["forgotten.weight"][:] = 0  # exporters drop a bias of zeros
    assert verify_bundle(save(tmp_path / "toy", weights=weights)) == []
