"""A zipped bundle: only the files that its manifest lists are unpacked, into a temporary folder."""

from __future__ import annotations

import shutil
import stat
import tempfile
import weakref
import zipfile
import zlib
from pathlib import Path

from medseg.errors import ModelRefused
from medseg.models.bundle import ModelBundle, open_folder
from medseg.models.manifest import MANIFEST, parse_manifest

_LARGEST = 8 * 2**30
_LARGEST_MANIFEST = 4 * 2**20
_RATIO = 200  # trained weights do not shrink to half; texts shrink to a tenth
_SMALL = 2**20


def open_zip(path: Path) -> ModelBundle:
    """Open a zipped bundle, with medseg.yaml at the top or in the one folder at the top.

    Nothing is unpacked by the names in the archive: paths come from the checked manifest, so an entry
    cannot leave the temporary folder, be a link, or unpack to more than it may.

    Raises
    ------
    ModelRefused
        If it is no zip, no bundle, encrypted, damaged, or unpacks to suspiciously much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _extract(archive, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise ModelRefused(f"{path}: not a readable zip file: {error}") from error


def _extract(archive: zipfile.ZipFile, path: Path) -> ModelBundle:
    entries = _entries(archive, path)
    prefix = _prefix(entries, path)
    raw = _content(archive, entries[prefix + MANIFEST], path, _LARGEST_MANIFEST)
    manifest = parse_manifest(raw, str(path))
    missing = [name for name in manifest.files if prefix + name not in entries]
    if missing:
        raise ModelRefused(f"{path}: {', '.join(missing)} missing: fetch or export the model again")
    total = sum(entries[prefix + name].file_size for name in manifest.files)
    if total > _LARGEST:
        raise ModelRefused(f"{path}: unpacks to {total} bytes, expected at most {_LARGEST}")
    keep = _Unpacked()
    folder = keep.folder
    (folder / MANIFEST).write_bytes(raw)
    for name in manifest.files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _unpack(archive, entries[prefix + name], path, target)
    return open_folder(folder, keep=keep)


class _Unpacked:
    """A temporary folder that goes when nothing refers to it any more, at the latest on exit."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="medseg-model-"))
        # Windows cannot delete a file that a runtime still maps; the system's own cleaning takes those.
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in entries:
            raise ModelRefused(f"{path}: {info.filename!r} is in the zip file twice")
        entries[info.filename] = info
    return entries


def _prefix(entries: dict[str, zipfile.ZipInfo], path: Path) -> str:
    found = [name for name in entries if name.split("/")[-1] == MANIFEST and name.count("/") <= 1]
    if len(found) != 1:
        raise ModelRefused(f"{path}: expected one {MANIFEST} at the top of the zip file, found {len(found)}")
    return found[0].removesuffix(MANIFEST)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, limit: int) -> bytes:
    _refuse_suspicious(info, path)
    with archive.open(info) as stream:
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise ModelRefused(f"{path}: {info.filename} has more than {limit} bytes")
    return raw


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, target: Path) -> None:
    """Copy one entry; zipfile stops at the size the directory states, and checks the CRC."""
    _refuse_suspicious(info, path)
    with archive.open(info) as stream, target.open("xb") as out:
        while block := stream.read(_SMALL):
            out.write(block)


def _refuse_suspicious(info: zipfile.ZipInfo, path: Path) -> None:
    where = f"{path}: {info.filename}"
    if info.flag_bits & 1:
        raise ModelRefused(f"{where} is encrypted: unpack it and give the folder")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ModelRefused(f"{where} is a link or a special file, expected a plain file")
    if info.file_size > _SMALL and info.file_size > _RATIO * max(info.compress_size, 1):
        raise ModelRefused(
            f"{where} unpacks {info.compress_size} bytes to {info.file_size}: this is no model but a bomb"
        )
