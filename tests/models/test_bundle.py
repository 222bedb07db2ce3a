"""A bundle comes back as it was saved, and nothing that was changed is believed."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from medseg.errors import ModelRefused, UsageError, WriteFailed
from medseg.models import ModelBundle, load_model, verify_bundle

Save = Callable[..., ModelBundle]


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    """Change medseg.yaml with plain yaml, as an editor or an attacker would."""
    path = folder / "medseg.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def flip_a_bit(path: Path, at: int = -1) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def test_bundle_comes_back_as_it_was_saved(bundle, plan, weights):
    loaded = load_model(bundle.path)
    assert loaded.plan == plan
    assert loaded.scope == bundle.scope
    assert loaded.label_set.ids == (2, 255)
    assert loaded.training == {"steps": 3, "patch": [16, 24, 32], "note": "ä, µ"}
    assert loaded.scores["validation"]["dice"] == {"anterior": 0.875, "posterior": None}
    assert loaded.hash == bundle.hash
    found = loaded.weights()
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    assert verify_bundle(loaded) == []


def test_manifest_states_the_sha256_of_every_other_file(bundle):
    stated = yaml.safe_load((bundle.path / "medseg.yaml").read_text(encoding="utf-8"))["files"]
    present = {p.relative_to(bundle.path).as_posix() for p in bundle.path.rglob("*") if p.is_file()}
    assert set(stated) == present - {"medseg.yaml"}
    for name, digest in stated.items():
        assert hashlib.sha256((bundle.path / name).read_bytes()).hexdigest() == digest


def test_metadata_has_what_monai_asks_of_a_bundle(bundle):
    from monai.bundle.properties import MetaProperties
    from monai.utils import BundleProperty

    metadata = json.loads((bundle.path / "configs/metadata.json").read_text(encoding="utf-8"))
    for name, entry in MetaProperties.items():
        if not entry[BundleProperty.REQUIRED]:
            continue
        value = metadata
        for key in entry["id"].split("::")[1:]:
            assert key in value, f"{name}: {entry['id']} is missing"
            value = value[key]
    mandatory = {"version", "monai_version", "pytorch_version", "numpy_version", "task", "description"}
    assert mandatory <= metadata.keys()
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert pred["channel_def"] == {"0": "background", "1": "anterior", "2": "posterior"}


def test_onnx_of_the_bundle_computes_what_the_weights_say(bundle, weights):
    sys.modules["openvino_telemetry"] = None
    import openvino
    from scipy.ndimage import correlate

    image = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(bundle.onnx_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = compiled([image[None, None]])[0][0]
    first = [
        np.maximum(correlate(image, kernel[0].astype(np.float32), mode="constant"), 0)
        for kernel in weights["first.weight"]
    ]
    last = weights["last.weight"][:, :, 0, 0, 0]
    expected = np.einsum("kc,cxyz->kxyz", last, np.stack(first)) + weights["last.bias"][:, None, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["models/model.safetensors", "models/model.onnx"])
def test_one_changed_bit_in_what_runs_is_refused(bundle, name):
    flip_a_bit(bundle.path / name)
    loaded = load_model(bundle.path)
    with pytest.raises(ModelRefused, match=r"altered or damaged.*export the model again"):
        _ = loaded.onnx_path
    assert [finding.code for finding in verify_bundle(loaded)] == ["altered"]


def test_weights_of_a_changed_file_are_refused(bundle):
    loaded = load_model(bundle.path)
    flip_a_bit(bundle.path / "models/model.safetensors")
    with pytest.raises(ModelRefused, match="altered or damaged"):
        loaded.weights()
    with pytest.raises(ModelRefused, match="altered or damaged"):
        _ = loaded.weights_path


def test_a_changed_licence_is_found_when_it_is_read(bundle):
    flip_a_bit(bundle.path / "LICENSE", 0)
    with pytest.raises(ModelRefused, match="LICENSE was altered"):
        load_model(bundle.path).text("LICENSE")


@pytest.mark.parametrize("name", ["models/model.safetensors", "models/model.onnx", "LICENSE"])
def test_missing_file_is_refused_by_name(bundle, name):
    (bundle.path / name).unlink()
    with pytest.raises(ModelRefused, match=f"{name} missing"):
        load_model(bundle.path)


@pytest.mark.parametrize("version", [0, 2, "1", True, None, [1]])
def test_other_format_versions_are_refused(bundle, version):
    rewrite(bundle.path, lambda values: values.update(format_version=version))
    with pytest.raises(ModelRefused, match="bundle format"):
        load_model(bundle.path)


@pytest.mark.parametrize("where", [(), ("plan",), ("plan", "network"), ("scope",)])
def test_unknown_keys_are_refused(bundle, where):
    def add(values: dict) -> None:
        for key in where:
            values = values[key]
        values["surprise"] = 1

    rewrite(bundle.path, add)
    with pytest.raises(ModelRefused, match="surprise"):
        load_model(bundle.path)


@pytest.mark.parametrize(
    "path",
    [
        "../outside", "models/../../outside", "/etc/passwd", "models\\..\\x", "C:/x", "models//x", "./x",
        "models/", "a:b", "NUL", "docs/con.txt", "x.", "medseg.yaml", "a\nb", "",
    ],
)  # fmt: skip
def test_paths_that_leave_the_bundle_are_refused(bundle, path):
    rewrite(bundle.path, lambda values: values["files"].update({path: "0" * 64}))
    with pytest.raises(ModelRefused, match="files"):
        load_model(bundle.path)


def test_a_bundle_must_list_its_weights(bundle):
    rewrite(bundle.path, lambda values: values["files"].pop("models/model.safetensors"))
    with pytest.raises(ModelRefused, match=r"no checksum for models/model\.safetensors"):
        load_model(bundle.path)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "format_version: 1\nname: !!python/object/apply:os.system ['touch {marker}']",
        "{unclosed: [",
        "just a sentence",
        "",
        "format_version: 1",
    ],
)
def test_yaml_that_is_not_plain_is_refused_and_runs_nothing(bundle, tmp_path, text):
    marker = tmp_path / "ran"
    (bundle.path / "medseg.yaml").write_text(text.replace("{marker}", str(marker)), encoding="utf-8")
    with pytest.raises(ModelRefused):
        load_model(bundle.path)
    assert not marker.exists()


def test_yaml_that_unfolds_without_end_is_refused(bundle):
    doubling = "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))
    for text in (f"a0: &a0 [1]\n{doubling}\n", "format_version: 1\na: &a [*a]\n"):
        (bundle.path / "medseg.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ModelRefused, match="unfolds"):
            load_model(bundle.path)


def test_pickles_in_the_folder_are_never_opened(bundle, tmp_path):
    marker = tmp_path / "ran"

    class Touch:
        def __reduce__(self) -> tuple:
            return (Path.touch, (marker,))

    for name in ("model.pt", "models/model.pt", "models/model.pth", "plan.pkl"):
        (bundle.path / name).write_bytes(pickle.dumps(Touch()))
    loaded = load_model(bundle.path)
    loaded.weights()
    _ = loaded.onnx_path
    assert verify_bundle(loaded) == []
    assert not marker.exists()


def test_a_failing_export_leaves_nothing_behind(save, tmp_path):
    def fails(path: Path) -> bytes:
        assert path.is_file()
        raise RuntimeError("exporter")

    with pytest.raises(RuntimeError, match="exporter"):
        save(tmp_path / "toy", build_onnx=fails)
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file_with_other_weights_is_not_saved(save, onnx_of, tmp_path):
    def shifted(path: Path) -> bytes:
        model = onnx_of(path)
        entries = model.graph.initializer[1].external_data
        entries[1].value = str(int(entries[1].value) + 4)
        entries[2].value = str(int(entries[2].value) - 4)
        return model.SerializeToString()

    with pytest.raises(WriteFailed, match=r"last\.weight"):
        save(tmp_path / "toy", build_onnx=shifted)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_saved(save, weights, tmp_path):
    weights["last.bias"][1] = np.nan
    with pytest.raises(WriteFailed, match=r"last\.bias.*not finite"):
        save(tmp_path / "toy", build_onnx=None)


def test_a_bundle_is_replaced_whole(save, bundle):
    again = save(bundle.path, card="# toy, second edition\n", build_onnx=None)
    assert load_model(bundle.path).text("docs/README.md") == "# toy, second edition\n"
    assert again.onnx_path is None
    assert again.hash != bundle.hash
    assert [p.name for p in bundle.path.parent.iterdir()] == ["toy"]


def test_a_folder_that_is_no_bundle_is_never_replaced(save, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="not an earlier export"):
        save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_a_missing_score_is_none_and_never_nan(save, tmp_path):
    with pytest.raises(UsageError, match="scores"):
        save(tmp_path / "toy", scores={"dice": float("nan")})


def test_opening_a_bundle_loads_neither_torch_nor_monai_nor_onnx(bundle):
    code = (
        "import sys; from medseg.models import load_model; b = load_model(sys.argv[1])\n"
        "b.onnx_path; b.weights()\n"
        "print([m for m in ('torch', 'monai', 'onnx', 'openvino', 'scipy', 'pickle') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle.path)], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.strip()
    assert loaded in ("[]", "['pickle']")  # numpy itself imports pickle
