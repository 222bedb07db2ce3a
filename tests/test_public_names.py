from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medseg

# The contract with people's scripts: names may be added, none goes away.
VERBS = {
    "read", "read_labels", "read_label_layers", "write", "inspect", "infer", "plan", "train", "evaluate",
    "load_model",
}  # fmt: skip
NOUNS = {
    "Geometry",
    "Volume",
    "LabelMap",
    "LabelSet",
    "Plan",
    "Fingerprint",
    "ModelBundle",
    "Segmentation",
    "Verdict",
}


def test_the_promised_names_are_public() -> None:
    assert set(medseg.__all__) >= VERBS | NOUNS


@pytest.mark.parametrize("name", [name for name in medseg.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(medseg, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(medseg.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        (node.module, alias.asname)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {(medseg._HOME[name], name) for name in medseg.__all__ if name != "__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmentate'"):
        _ = medseg.segmentate


def test_dir_lists_what_is_public() -> None:
    assert set(dir(medseg)) == set(medseg.__all__)


def test_no_module_has_a_public_verbs_name() -> None:
    """``medseg/plan.py`` would overwrite ``medseg.plan`` as soon as it is imported."""
    modules = {path.stem for path in Path(medseg.__file__).parent.iterdir()}
    assert not modules & VERBS


@pytest.mark.parametrize("name", ["read", "infer", "load_model", "evaluate"])
def test_names_that_need_no_training_load_neither_torch_nor_monai(name: str) -> None:
    code = f"import sys, medseg; medseg.{name}; assert not {{'torch', 'monai'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_medseg_loads_no_array_library() -> None:
    code = "import sys, medseg; assert not {'numpy', 'pydantic', 'torch', 'openvino'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
