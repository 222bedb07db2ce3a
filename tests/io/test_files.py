"""Names, hashes, and writes that are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg import Volume
from medseg.errors import NotFound, WriteFailed
from medseg.io.files import atomic_output, sha256_files, stem, write_text
from medseg.io.readers import locate

_WRITER = """
import sys, time, medseg, numpy as np
from medseg.io import files
flush = files._flush
def slow(path):
    print("written", flush=True)
    time.sleep(60)
files._flush = slow
volume = medseg.Volume(np.ones((1, 40, 50, 60), np.int16), medseg.Geometry((40, 50, 60), np.eye(4)))
medseg.write(volume, sys.argv[1], overwrite=True)
"""


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("A.NII.GZ", "A"), ("x.seg.nrrd", "x"), ("x.mha", "x"),
     ("x.tiff", "x"), ("sub-01_T1w.nii.gz", "sub-01_T1w"), ("notes.txt", "notes.txt"), ("a.gz", "a.gz")],
)  # fmt: skip
def test_stem_drops_known_extensions_only(tmp_path: Path, name: str, expected: str) -> None:
    assert stem(tmp_path / name) == expected


def test_stem_of_dicom_is_the_folders_name(tmp_path: Path) -> None:
    folder = tmp_path / "case 7"
    folder.mkdir()
    (folder / "IM1").write_bytes(bytes(128) + b"DICM")
    assert stem(folder) == stem(folder / "IM1") == stem(folder / "absent.dcm") == "case 7"


def test_stem_of_an_archive_is_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "study.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    assert stem(tmp_path / "study.zip") == "study"


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("study.zip", b"PK\x03\x04", "dicom"),
        ("study", b"PK\x05\x06" + bytes(18), "dicom"),
        ("DICOMDIR", bytes(128) + b"DICM", "dicom"),
        ("IM1", struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", 10) + b"ISO_IR 100", "dicom"),
        ("IM1", struct.pack("<HHI", 0x0008, 0x0000, 4) + bytes(4), "dicom"),
        ("IM1", struct.pack(">HH2sH", 0x0002, 0x0000, b"UL", 4) + bytes(4), "dicom"),
        ("scan.img", struct.pack("<HHI", 0x0008, 0x0000, 4) + bytes(4), "dicom"),
        ("scan.jpg", b"\xff\xd8\xff\xe0", "jpeg"),
        ("scan.nii", b"\xff\xd8\xff\xe0", "jpeg"),
        ("scan.mgh", b"\0\0\0\1", "mgh"),
        ("scan.hdr.gz", b"", "nifti"),
    ],
)
def test_content_tells_the_format_and_the_name_where_it_does_not(
    tmp_path: Path, name: str, start: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(start)
    assert locate(tmp_path / name) == kind


def test_voxels_of_a_pair_are_never_taken_for_another_format(tmp_path: Path) -> None:
    (tmp_path / "scan.hdr").write_bytes(bytes(348))
    (tmp_path / "scan.img").write_bytes(b"PK\x03\x04 by chance")
    assert locate(tmp_path / "scan.img") == "nifti"


def test_what_the_system_does_not_let_read_is_refused(
    tmp_path: Path, oblique: Callable[..., Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = medseg.write(oblique(), tmp_path / "scan.nii")
    honest = Path.open

    def broken(self: Path, *rest: object, **options: object) -> object:
        if self == path:
            raise OSError(errno.EIO, "Input/output error")
        return honest(self, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(medseg.InputRefused, match=r"scan\.nii: cannot be read") as refusal:
        medseg.read(path)
    assert refusal.value.code == "unreadable"


def test_hash_of_one_file_is_its_sha256_and_order_matters_for_several(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"slice one")
    two.write_bytes(b"slice two")
    assert sha256_files([one]) == hashlib.sha256(b"slice one").hexdigest()
    assert len({sha256_files([one, two]), sha256_files([two, one]), sha256_files([one])}) == 3


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = write_text(tmp_path / "result.json", "old")
    seen = []

    def fail_half_way() -> None:
        with atomic_output(path) as temporary:
            temporary.write_text("half")
            seen.extend(_names(tmp_path))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert re.fullmatch(r"\.result\.json\.\d+-[0-9a-f]{16}\.part\.json", seen[0])
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["result.json"]


def test_text_has_the_same_bytes_on_every_system(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a.csv", "x\ny µm\n").read_bytes() == b"x\ny \xc2\xb5m\n"


def test_writing_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such folder"):
        write_text(tmp_path / "absent" / "a.json", "")


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("before", [None, b"the earlier result"])
def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "scan_seg.nii.gz"
    if before is not None:
        path.write_bytes(before)
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    litter = [name for name in _names(tmp_path) if name.endswith(".part.nii.gz")]
    assert len(litter) == 1
    assert (path.read_bytes() if path.exists() else None) == before
    write_text(tmp_path / "next.json", "{}")
    assert _names(tmp_path) == ["next.json"] + ([path.name] if before is not None else [])


def test_temporary_files_of_a_living_writer_stay(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "slow.txt") as temporary:
        temporary.write_text("still writing")
        write_text(tmp_path / "quick.txt", "")
        assert temporary.exists()
    assert (tmp_path / "slow.txt").read_text() == "still writing"


def test_temporary_files_of_another_computer_stay_for_a_day(tmp_path: Path) -> None:
    foreign = tmp_path / ".a.nii.gz.4194999-0123456789abcdef.part.nii.gz"
    foreign.write_bytes(b"")
    write_text(tmp_path / "next.json", "{}")
    assert foreign.exists()
    os.utime(foreign, (time.time() - 90_000,) * 2)
    write_text(tmp_path / "next.json", "{}")
    assert not foreign.exists()


def test_a_write_that_reads_back_differently_is_thrown_away(
    tmp_path: Path, oblique: Callable[..., Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.io import nifti_writer

    honest = nifti_writer.write

    def faulty(path: Path, data: np.ndarray, *rest: object, **options: object) -> None:
        honest(path, np.where(data == data.max(), 0, data).astype(data.dtype), *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(nifti_writer, "write", faulty)
    with pytest.raises(WriteFailed, match="did not read back"):
        medseg.write(oblique(), tmp_path / "scan.nii.gz")
    assert _names(tmp_path) == []


def test_existing_files_are_replaced_only_when_asked(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    path = medseg.write(oblique(), tmp_path / "scan.nii.gz")
    with pytest.raises(medseg.UsageError, match="exists already"):
        medseg.write(oblique(), path)
    assert medseg.write(oblique(), path, overwrite=True) == path


@pytest.mark.parametrize(
    "name", ["scan.dcm", "scan", "scan.hdr", "scan.nhdr", "scan.txt", "scan.jpg", "scan.mgz", "scan.zip"]
)
def test_formats_that_cannot_be_written_are_refused_with_the_list(
    tmp_path: Path, oblique: Callable[..., Volume], name: str
) -> None:
    with pytest.raises(medseg.UsageError, match=r"\.nii\.gz, \.nii, \.nrrd"):
        medseg.write(oblique(), tmp_path / name)
