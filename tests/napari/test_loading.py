"""What the plugin loads: neither torch nor MONAI. How long that takes: `benchmarks/plugin_loading.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import napari_medseg
import yaml

MANIFEST = Path(napari_medseg.__file__).parent / "napari.yaml"

_LOAD = """
import sys, warnings
warnings.simplefilter("ignore")
import napari, napari.layers, napari.qt
sys.path.insert(0, sys.argv[1])
from importlib import import_module
for name in sys.argv[2:]:
    module, _, attribute = name.partition(":")
    getattr(import_module(module), attribute)
print(sorted({"torch", "monai", "openvino"} & set(sys.modules)))
"""


def _commands():
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    return [command["python_name"] for command in manifest["contributions"]["commands"]]


def test_every_module_of_the_manifest_loads_without_torch(napari):
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(MANIFEST.parents[1]), *_commands()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_npe2_validates_the_manifest(napari):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "npe2", "validate", str(MANIFEST)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(MANIFEST.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_plain_modules_import_no_viewer():
    root = MANIFEST.parent
    plain = [
        ".".join(("napari_medseg", *file.relative_to(root).with_suffix("").parts))
        for file in sorted(root.rglob("*.py"))
        if "_qt" not in file.parts and file.name != "__init__.py"
    ]
    assert "napari_medseg.recovery.journal" in plain
    code = "import sys\n" + "".join(f"import {name}\n" for name in plain)
    code += "print(sorted({'napari', 'qtpy', 'torch', 'monai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
