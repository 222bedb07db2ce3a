"""No text of a file's header reaches a message, a verdict, a log or what is written from the file."""

from __future__ import annotations

import gzip
import json
import logging
import struct
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import medseg
from medseg import LabelMap, Volume
from medseg.errors import FormatCannotHold
from tests.io.test_text_headers import META, NRRD, VOXELS

CANARY = "CANARY^DOE"
BROKEN = (CANARY, f"1 {CANARY} 2", f"({CANARY},0,0)", f'"{CANARY}"', f"{CANARY}%d.raw 1 4 1", f"../{CANARY}")
MORE_NRRD = (
    "content", "data file", "space units", "spacings", "units", "line skip", "byte skip", "labels",
    "sample units", "measurement frame", "new field",
)  # fmt: skip
MORE_META = (
    "Comment", "HeaderSize", "ElementNumberOfChannels", "CenterOfRotation", "ElementSize",
    "AnatomicalOrientation", "Name", "NewField",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert not _is_betrayed(caplog.text)


def _is_betrayed(text: str) -> bool:
    return any(part in text for part in ("CANARY", "canary^", "^DOE", "^doe"))


def _look(path: Path) -> None:
    """Read, inspect, and write again; wherever words come out, the canary must not be among them."""
    assert not _is_betrayed(json.dumps(medseg.inspect(path).to_json()).replace(str(path), ""))
    for reader in (medseg.read, medseg.read_labels):
        item, words = _read(reader, path)
        assert not _is_betrayed(words)
        if item is not None:
            _check_written(item, path)


def _read(reader: Callable[[Path], Volume | LabelMap], path: Path) -> tuple[Volume | LabelMap | None, str]:
    """What was read, and all the words that came with it."""
    try:
        item = reader(path)
    except medseg.InputRefused as refusal:
        return None, "".join(traceback.format_exception(refusal)) + repr(refusal.reasons)
    return item, repr(item.verdict)


def _check_written(item: Volume | LabelMap, path: Path) -> None:
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha", ".tif", ".png"):
        try:
            written = medseg.write(item, path.parent / f"again{suffix}", overwrite=True).read_bytes()
        except FormatCannotHold:
            continue
        written += gzip.decompress(written) if suffix == ".nii.gz" else b""
        assert not _is_betrayed(written.decode("latin-1"))


@pytest.mark.parametrize("field", [*NRRD, *MORE_NRRD])
def test_nrrd(tmp_path: Path, field: str) -> None:
    for value in BROKEN:
        fields = NRRD | {field: value}
        pairs = f"PatientName:={CANARY}\n{CANARY}:={CANARY}\nSegment0_Color:={CANARY}\n"
        lines = "".join(f"{key}: {text}\n" for key, text in fields.items())
        (tmp_path / "scan.nrrd").write_bytes(
            f"NRRD0005\n# {CANARY}\n{lines}{pairs}\n".encode() + VOXELS.tobytes()
        )
        _look(tmp_path / "scan.nrrd")


@pytest.mark.parametrize("line", [CANARY, f"{CANARY}: 1\n{CANARY}: 2", f"NRRD{CANARY}"])
def test_nrrd_lines_of_no_form(tmp_path: Path, line: str) -> None:
    lines = "".join(f"{key}: {text}\n" for key, text in NRRD.items())
    (tmp_path / "scan.nrrd").write_bytes(f"NRRD0005\n{line}\n{lines}\n".encode() + VOXELS.tobytes())
    _look(tmp_path / "scan.nrrd")


@pytest.mark.parametrize("field", [*META, *MORE_META])
def test_metaimage(tmp_path: Path, field: str) -> None:
    for value in BROKEN:
        fields = {"Comment": CANARY, "PatientName": CANARY, CANARY: CANARY} | META | {field: value}
        fields["ElementDataFile"] = fields.pop("ElementDataFile")
        lines = "".join(f"{key} = {text}\n" for key, text in fields.items())
        (tmp_path / "scan.mha").write_bytes(lines.encode() + VOXELS.tobytes())
        _look(tmp_path / "scan.mha")


def test_texts_instead_of_voxels(tmp_path: Path) -> None:
    for encoding in ("ascii", "hex", "gzip", "bzip2"):
        lines = "".join(f"{key}: {text}\n" for key, text in (NRRD | {"encoding": encoding}).items())
        (tmp_path / "scan.nrrd").write_bytes(f"NRRD0005\n{lines}\n{CANARY * 50}".encode())
        _look(tmp_path / "scan.nrrd")
    lines = "".join(f"{key} = {text}\n" for key, text in (META | {"BinaryData": "False"}).items())
    (tmp_path / "scan.mha").write_bytes(f"{lines}{CANARY * 50}".encode())
    _look(tmp_path / "scan.mha")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair])
def test_nifti(tmp_path: Path, oblique: Callable[..., Volume], kind: type) -> None:
    image = kind(oblique().data[0], oblique().geometry.affine)
    for field in ("descrip", "aux_file", "intent_name", "data_type", "db_name"):
        if field in image.header:
            image.header[field] = CANARY.encode()
    if kind is not nibabel.Nifti1Pair:
        image.header.extensions.append(
            nibabel.nifti1.Nifti1Extension(6, b'{"medseg_labels' + CANARY.encode())
        )
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(2, CANARY.encode() * 9))
    path = tmp_path / ("scan.img" if kind is nibabel.Nifti1Pair else "scan.nii")
    nibabel.save(image, path)
    _look(path)


def test_nifti_with_texts_where_numbers_belong(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    path = medseg.write(oblique(), tmp_path / "scan.nii")
    good = path.read_bytes()
    grid = {*range(76, 92), *range(252, 328)}  # whose numbers are copied as they are
    for offset in range(0, 348, 6):
        if grid & {*range(offset, offset + len(CANARY))}:
            continue
        path.write_bytes(good[:offset] + CANARY.encode()[: 352 - offset] + good[offset + len(CANARY) :])
        _look(path)


def test_mgh_and_analyze(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    path = tmp_path / "scan.mgz"
    nibabel.save(nibabel.MGHImage(oblique().data[0], oblique().geometry.affine), path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + CANARY.encode() * 99))
    _look(path)
    good = gzip.decompress(path.read_bytes())
    for offset in range(0, 100, 6):
        path.write_bytes(gzip.compress(good[:offset] + CANARY.encode() + good[offset + len(CANARY) :]))
        _look(path)
    nibabel.save(nibabel.AnalyzeImage(oblique().data[0], None), tmp_path / "pair.img")
    good = (tmp_path / "pair.hdr").read_bytes()
    for offset in [*range(0, 67, 6), *range(92, 342, 6)]:  # but the grid's own numbers
        changed = good[:offset] + CANARY.encode() + good[offset + len(CANARY) :]
        (tmp_path / "pair.hdr").write_bytes(changed[:348])
        _look(tmp_path / "pair.hdr")


def test_pictures(tmp_path: Path) -> None:
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
    info, exif = PngInfo(), Image.Exif()
    for key in ("Author", CANARY):
        info.add_text(key, CANARY, zip=True)
        info.add_itxt(key, CANARY)
    exif[0x010E], exif[0x013B], exif[0x0112] = CANARY, CANARY, 6
    Image.fromarray(grey).save(tmp_path / "scan.png", pnginfo=info, exif=exif)
    Image.fromarray(grey).save(tmp_path / "scan.jpg", exif=exif, comment=CANARY)
    metadata = {"unit": CANARY, "PatientName": CANARY}
    tifffile.imwrite(
        tmp_path / "scan.tif", grey, imagej=True, metadata=metadata, software=CANARY, resolution=(2, 2)
    )
    for name in ("scan.png", "scan.jpg", "scan.tif"):
        path = tmp_path / name
        _look(path)
        good = path.read_bytes()
        for offset in range(8, len(good) - 12, max(1, len(good) // 10)):
            path.write_bytes(good[:offset] + CANARY.encode() + good[offset + len(CANARY) :])
            assert not _is_betrayed(_read(medseg.read, path)[1])


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_chunk_that_cannot_be_unpacked(tmp_path: Path, kind: bytes) -> None:
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / "scan.png")
    good = (tmp_path / "scan.png").read_bytes()
    body = kind + CANARY.encode() + b"\0\0" + zlib.compress(bytes(1 << 22))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "scan.png").write_bytes(good[:33] + chunk + good[33:])
    _look(tmp_path / "scan.png")
