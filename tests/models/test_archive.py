"""A zipped bundle opens like its folder; a hostile zip unpacks nothing."""

from __future__ import annotations

import gc
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from medseg.errors import ModelRefused
from medseg.models import load_model, verify_bundle


def pack(folder: Path, target: Path, prefix: str = "", extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize("prefix", ["", "toy-1.0/"])
def test_a_zip_opens_like_its_folder(bundle, weights, tmp_path, prefix):
    zipped = load_model(pack(bundle.path, tmp_path / "toy.zip", prefix))
    assert zipped.hash == bundle.hash
    assert zipped.plan == bundle.plan
    assert verify_bundle(zipped) == []
    np.testing.assert_array_equal(zipped.weights()["last.weight"], weights["last.weight"])
    assert zipped.onnx_path.is_file()


def test_the_extracted_copy_goes_with_the_bundle(bundle, tmp_path):
    zipped = load_model(pack(bundle.path, tmp_path / "toy.zip"))
    folder = zipped.path
    assert folder.is_dir()
    del zipped
    gc.collect()
    assert not folder.exists()


def test_only_listed_files_are_unpacked(bundle, tmp_path):
    extra = {"../slip.txt": b"x", "/abs.txt": b"x", "models/model.pt": b"x", "a/../../b": b"x"}
    zipped = load_model(pack(bundle.path, tmp_path / "toy.zip", extra=extra))
    unpacked = {p.relative_to(zipped.path).as_posix() for p in zipped.path.rglob("*") if p.is_file()}
    assert unpacked == {"medseg.yaml", *zipped.files}
    assert not (zipped.path.parent / "slip.txt").exists()


def test_a_manifest_that_lists_a_slipping_path_is_refused(bundle, tmp_path):
    manifest = bundle.path / "medseg.yaml"
    values = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    values["files"]["../slip.txt"] = "0" * 64
    manifest.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ModelRefused, match=r"slip\.txt"):
        load_model(pack(bundle.path, tmp_path / "toy.zip", extra={"../slip.txt": b"x"}))


def test_a_link_in_place_of_a_file_is_refused(bundle, tmp_path):
    (bundle.path / "LICENSE").unlink()
    path = pack(bundle.path, tmp_path / "toy.zip")
    link = zipfile.ZipInfo("LICENSE")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelRefused, match="LICENSE is a link"):
        load_model(path)


def test_a_bomb_is_refused_before_it_is_unpacked(bundle, tmp_path):
    (bundle.path / "LICENSE").write_bytes(bytes(50_000_000))
    with pytest.raises(ModelRefused, match="bomb"):
        load_model(pack(bundle.path, tmp_path / "toy.zip"))


def test_an_entry_twice_is_refused(bundle, tmp_path):
    path = tmp_path / "toy.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        pack(bundle.path, path, extra={"LICENSE": b"another"})
    with pytest.raises(ModelRefused, match="twice"):
        load_model(path)


def test_a_changed_file_in_a_zip_is_refused(bundle, tmp_path):
    raw = bytearray((bundle.path / "models/model.safetensors").read_bytes())
    raw[-1] ^= 1
    (bundle.path / "models/model.safetensors").write_bytes(raw)
    with pytest.raises(ModelRefused, match="altered"):
        load_model(pack(bundle.path, tmp_path / "toy.zip")).weights()


@pytest.mark.parametrize("damage", ["not a zip", "cut", "no manifest", "crc", "missing"])
def test_zips_that_do_not_hold_a_whole_bundle_are_refused(bundle, tmp_path, damage):
    path = tmp_path / "toy.zip"
    if damage in ("no manifest", "missing"):
        (bundle.path / ("medseg.yaml" if damage == "no manifest" else "LICENSE")).unlink()
    pack(bundle.path, path)
    raw = bytearray(path.read_bytes())
    if damage == "not a zip":
        raw = bytearray(b"\x1f\x8b" + bytes(100))
    elif damage == "cut":
        raw = raw[: len(raw) // 2]
    elif damage == "crc":
        with zipfile.ZipFile(path) as archive:
            start = archive.getinfo("models/model.safetensors").header_offset
        raw[start + 200] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ModelRefused):
        load_model(path)
