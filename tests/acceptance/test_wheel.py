"""The wheel alone, in a clean environment, does the main job: no extras, no torch, no network.

Needs a package index (or what pip is configured to find), about 1.5 GB of disk and some minutes:

    python -m pytest tests/acceptance/test_wheel.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
MB = 1e6

# Runs in every Python of the clean environment: whatever touches the network or starts a process (OpenVINO's
# telemetry does both) is written down and stopped. matplotlib asks fc-list for fonts, once.
SITECUSTOMIZE = """
import os, sys

def watch(event, args):
    starts = event in ("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
    if starts and "fc-list" in str(args):
        return
    if starts or (event.startswith("socket.") and event != "socket.gethostname"):
        with open(os.environ["WATCH_LOG"], "a") as log:
            log.write(f"{event} {args}\\n")
        raise PermissionError(f"{event} is not allowed here")

if "WATCH_LOG" in os.environ:
    sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: what an earlier build left in build/ must not get into this wheel.
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "runs", "demo", "*.egg-info", "__pycache__")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=unwanted)
    pip(Path(sys.executable), "wheel", "--no-deps", "-w", str(folder), str(tree))
    (built,) = folder.glob("medseg-*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that holds the wheel and its base requirements, no more."""
    environment = tmp_path_factory.mktemp("clean") / "environment"
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    pip(programs / "python", "install", "-c", str(ROOT / "constraints.txt"), str(wheel))
    purelib = run(
        programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    ).stdout.strip()
    (Path(purelib) / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return programs


def test_wheel_holds_both_packages_recipes_models_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    tracked = subprocess.run(
        ["git", "ls-files", "medseg", "configs", "napari_plugin"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    moved = [path.replace("napari_plugin/", "") if "napari_plugin" in path else path for path in tracked]
    expected = [f"medseg/{path}" if path.startswith("configs/") else path for path in moved]
    assert not set(expected) - set(sizes)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in sizes)
    assert not [name for name in sizes if name.startswith(("tests/", "benchmarks/", "scripts/"))]
    assert sum(size for name, size in sizes.items() if name.startswith("medseg/models/builtin/")) < 30 * MB


def test_main_job_runs_without_torch_and_without_network(clean: Path, tmp_path: Path) -> None:
    for package in ("torch", "monai", "napari"):
        assert run(clean / "python", "-c", f"import {package}", check=False).returncode == 1
    scan = sample(tmp_path)
    log = tmp_path / "watch.log"
    # Telemetry keeps quiet where CI is set, and remembers in the home folder that it has asked.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"WATCH_LOG": str(log), "HOME": str(tmp_path)}

    done = run(
        clean / "medseg",
        *("infer", str(scan), "-m", "hippocampus", "--preview", "--json"),
        env=environment,
        cwd=tmp_path,
    )

    (case,) = json.loads(done.stdout)["cases"]
    assert not log.exists(), log.read_text()
    assert case["verdict"] in ("ok", "warning")
    assert case["provenance"]["execution"]["backend"] == "openvino"
    segmentation = nibabel.load(case["segmentation"])
    np.testing.assert_array_equal(segmentation.affine, nibabel.load(scan).affine)
    for label in case["labels"]:
        counted = (np.asanyarray(segmentation.dataobj) == label["id"]).sum()
        assert counted / 1000 == pytest.approx(label["volume_ml"])  # 1 mm voxels
        assert 0.5 < label["volume_ml"] < 4
    assert Path(case["preview"]).stat().st_size > 10_000


def test_the_watch_would_have_seen_a_connection(clean: Path, tmp_path: Path) -> None:
    log = tmp_path / "watch.log"
    code = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)"
    done = run(clean / "python", "-c", code, env={**os.environ, "WATCH_LOG": str(log)}, check=False)
    assert done.returncode == 1
    assert "socket." in log.read_text()


def test_what_the_base_lacks_is_named_with_its_cure(clean: Path, tmp_path: Path) -> None:
    done = run(clean / "medseg", "train", str(tmp_path), "-o", str(tmp_path / "run"), check=False)
    assert done.returncode == 2
    assert "pip install 'medseg[train]'" in done.stderr
    missing = json.loads(run(clean / "medseg", "doctor", "--json").stdout)["missing"]
    assert {entry["extra"] for entry in missing} == {"train", "cluster", "napari"}


def test_recipes_travel_with_the_wheel(clean: Path) -> None:
    code = "from importlib.resources import files; print(files('medseg') / 'configs')"
    folder = Path(run(clean / "python", "-c", code).stdout.strip())
    assert {path.name for path in folder.glob("*.yaml")} == {
        path.name for path in (ROOT / "configs").glob("*.yaml")
    }


def sample(folder: Path) -> Path:
    """The demo's scan, cut out of the T1 template that nilearn's package holds."""
    import nilearn

    from scripts.make_sample import TEMPLATE, crop_left_hippocampus

    template = nibabel.load(Path(nilearn.__file__).parents[1] / TEMPLATE)
    path = folder / "scan.nii.gz"
    nibabel.save(crop_left_hippocampus(template), path)
    return path


def pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def run(
    program: Path, *arguments: str, check: bool = True, **options: object
) -> subprocess.CompletedProcess[str]:
    # Not in the checkout: `python -c` would import medseg from there.
    where = {"cwd": program.parent, **options}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, **where)
    assert not check or done.returncode == 0, done.stderr
    return done
