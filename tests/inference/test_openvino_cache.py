"""Compiled networks on disk: quicker where they are whole, of no consequence where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.inference.backends import open_backend, openvino
from medseg.inference.backends.openvino_cache import cache_folder
from medseg.models import ModelBundle, load_model
from tests.threshold_model import save_threshold_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    """The built-in model: a real network."""
    return load_model("hippocampus")


@pytest.fixture(scope="module")
def patch() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(1, 1, 40, 56, 40)).astype(np.float32)


def logits(bundle: ModelBundle, patch: NDArray[np.float32], precision: str = "f32") -> NDArray[np.float32]:
    return open_backend(bundle, backend="openvino", precision=precision, threads=2)(patch).copy()


@pytest.fixture
def compiled_anew(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were compiled and not taken from the cache."""
    names: list[str] = []
    whole = openvino._read

    def counted(core: object, bundle: ModelBundle) -> object:
        names.append(bundle.name)
        return whole(core, bundle)

    monkeypatch.setattr(openvino, "_read", counted)
    return names


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_what_comes_from_the_cache_gives_the_same_bits(
    bundle: ModelBundle,
    patch: NDArray[np.float32],
    compiled_anew: list[str],
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    able = openvino.import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in able:
        pytest.skip("this processor does not compute in bfloat16")
    first = logits(bundle, patch, precision)
    run = open_backend(bundle, backend="openvino", precision=precision, threads=2)
    assert compiled_anew == ["hippocampus"]
    told = run.activation_bytes()
    np.testing.assert_array_equal(run(patch), first)
    monkeypatch.setenv("MEDSEG_CACHE", "off")
    without = open_backend(bundle, backend="openvino", precision=precision, threads=2)
    assert len(compiled_anew) == 2
    assert (without.settings, without.activation_bytes()) == (run.settings, told)
    np.testing.assert_array_equal(without(patch), first)


def test_other_settings_are_other_files(bundle: ModelBundle, cache: Path, compiled_anew: list[str]) -> None:
    for threads in (1, 2, 1):
        open_backend(bundle, backend="openvino", threads=threads)
    assert len(compiled_anew) == len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("harm", ["cut short", "one bit", "emptied", "another's checksum"])
def test_a_damaged_file_is_never_used(
    bundle: ModelBundle, patch: NDArray[np.float32], cache: Path, compiled_anew: list[str], harm: str
) -> None:
    first = logits(bundle, patch)
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    if harm == "cut short":
        del content[-1000:]
    elif harm == "one bit":
        content[len(content) // 2] ^= 1
    elif harm == "emptied":
        content.clear()
    else:
        content[0] ^= 255
    file.write_bytes(content)
    np.testing.assert_array_equal(logits(bundle, patch), first)
    assert len(compiled_anew) == 2
    np.testing.assert_array_equal(logits(bundle, patch), first)
    assert len(compiled_anew) == 2  # it was replaced by a whole one


def test_a_whole_file_that_openvino_refuses_is_replaced(
    bundle: ModelBundle, patch: NDArray[np.float32], cache: Path, compiled_anew: list[str]
) -> None:
    import hashlib

    first = logits(bundle, patch)
    (file,) = cache.iterdir()
    file.write_bytes(hashlib.sha256(b"of an older OpenVINO").digest() + b"of an older OpenVINO")
    np.testing.assert_array_equal(logits(bundle, patch), first)
    assert len(compiled_anew) == 2
    assert file.stat().st_size > 1e6


def test_a_cache_that_cannot_be_written_is_no_error(
    bundle: ModelBundle, patch: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "file"))
    assert np.isfinite(logits(bundle, patch)).all()


def test_off_writes_nothing(
    bundle: ModelBundle, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    open_backend(bundle, backend="openvino")
    assert not cache.exists()
    assert not (tmp_path / "xdg").exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="where Linux keeps such files")
def test_the_folder_is_the_systems_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "medseg" / "openvino"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "medseg" / "openvino"


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSEG_CACHE")

    def lost() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", lost)
    assert cache_folder() is None


def test_the_least_used_files_go(bundle: ModelBundle, cache: Path) -> None:
    cache.mkdir(parents=True)
    now = time.time()
    for age in range(20):
        file = cache / f"{age:02}.blob"
        file.write_bytes(b"old")
        os.utime(file, (now - 60 * age - 60, now - 60 * age - 60))
    open_backend(bundle, backend="openvino")
    left = sorted(path.name for path in cache.iterdir())
    assert len(left) == 16
    assert left[:15] == [f"{age:02}.blob" for age in range(15)]


def test_weights_too_large_to_gain_anything_are_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_CACHED_WEIGHTS", 10)
    open_backend(save_threshold_model(tmp_path / "model"), backend="openvino")
    assert not cache.exists()


def test_processes_that_start_together_agree(bundle: ModelBundle, cache: Path) -> None:
    code = """
        import numpy as np
        from medseg.inference.backends import open_backend
        from medseg.models import load_model
        run = open_backend(load_model("hippocampus"), backend="openvino", threads=1)
        patch = np.random.default_rng(3).normal(size=(1, 1, 40, 56, 40)).astype(np.float32)
        print(run(patch).tobytes().hex()[:4000])
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], told
    assert len({out for out, _ in told}) == 1
    assert [path.suffix for path in cache.iterdir()] == [".blob"]
