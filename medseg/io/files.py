"""Names, hashes and atomic writes of files.

A file under its final name is always whole: it is written under a temporary name in the same folder,
flushed to the disk, and renamed. A process killed in the middle leaves at most a temporary file, which
the next write into that folder removes.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import NotFound, WriteFailed

# Longest first, so that `scan.nii.gz` loses both of its endings.
EXTENSIONS: tuple[str, ...] = (
    ".seg.nrrd", ".nii.gz", ".nii", ".hdr.gz", ".img.gz", ".hdr", ".img", ".mgh", ".mgz", ".nrrd", ".nhdr",
    ".mha", ".mhd", ".png", ".jpeg", ".jpg", ".tiff", ".tif", ".dcm", ".ima", ".zip",
)  # fmt: skip
DICOM_EXTENSIONS = (".dcm", ".ima")
_TEMPORARY = re.compile(r"^\..+\.(?P<pid>\d+)-(?P<host>[0-9a-f]{8})[0-9a-f]{8}\.part(\..+)?$")
_STALE_AFTER_S = 24 * 3600.0


def extension(path: str | Path) -> str:
    """The known extension of a path in lower case (``".nii.gz"``), or ``""``."""
    name = Path(path).name.lower()
    return next((known for known in EXTENSIONS if name.endswith(known) and name != known), "")


def stem(path: str | Path) -> str:
    """The name of a scan: a file's name without its known extension, a DICOM series' folder name."""
    path = Path(path)
    if path.is_dir() or extension(path) in DICOM_EXTENSIONS or is_dicom_file(path):
        folder = path if path.is_dir() else path.parent
        return folder.resolve().name
    return path.name[: len(path.name) - len(extension(path))]


def is_dicom_file(path: Path) -> bool:
    """Whether a file carries DICOM's mark at byte 128, or has no other extension and begins as DICOM does.

    Missing files and folders do not.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(132)
    if extension(path) not in ("", ".img", *DICOM_EXTENSIONS):
        return has_dicom_mark(start)
    return has_dicom_mark(start) or begins_as_dicom(start)


def has_dicom_mark(start: bytes) -> bool:
    """Whether the first 132 bytes of a file bear DICOM's mark."""
    return start[128:132] == b"DICM"


def begins_as_dicom(start: bytes) -> bool:
    """Whether a file without the mark begins like a data set of DICOM.

    Its first element is then a short one of group 2 or 8, in any byte order and coding.
    """
    if len(start) < 8:
        return False
    for order in "<>":
        group, element, kind, short = struct.unpack_from(order + "HH2sH", start)
        if group in (0x0002, 0x0008) and element <= 0x0018:
            explicit = kind.isalpha() and kind.isupper()
            length: int = short if explicit else struct.unpack_from(order + "I", start, 4)[0]
            return length <= 256
    return False


def sha256_files(paths: Iterable[str | Path]) -> str:
    """SHA-256 (hex) over the contents of files, in the order given.

    For one file it is the file's own digest, as ``sha256sum`` prints it; for several the digest of
    their digests.
    """
    digests = []
    for path in paths:
        with Path(path).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256"))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


@contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends well, and vanishes when it does not.

    The block writes the temporary file and may read it back to verify it. On a clean exit the file is
    flushed to the disk and takes its final name in one step, replacing what was there.

    Raises
    ------
    NotFound
        If the folder of ``path`` does not exist.
    WriteFailed
        If the system refuses the write, e.g. because the disk is full.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent}: no such folder to write {path.name} into; create it first")
    remove_stale(path.parent)
    temporary = temporary_path(path)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if isinstance(error, WriteFailed) or error.errno is None:
            raise
        raise WriteFailed(f"{path}: could not be written: {error.strerror}") from error
    finally:
        if temporary.exists():  # where nothing may be written, asking to remove what is not there fails too
            temporary.unlink()


def temporary_path(path: Path) -> Path:
    """A new name beside ``path`` that tells who is writing: `remove_stale` finds what is left of it."""
    token = f"{os.getpid()}-{host_mark()}{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{token}.part{extension(path) or path.suffix}")


def put_folder(temporary: Path, path: Path) -> None:
    """Flush a finished folder to the disk and give it its final name, in place of what is there.

    No system swaps two folders in one step: a process killed between the two renames leaves nothing under the
    final name, and the earlier folder under a temporary one.
    """
    _flush_tree(temporary)
    earlier = None
    if path.exists():
        earlier = temporary_path(path)
        path.rename(earlier)
    temporary.rename(path)
    _flush_folder(path.parent)
    if earlier is not None:
        _remove(earlier)


def make_folder(folder: Path) -> None:
    """Make a folder for outputs, with its parents, unless it is there.

    Raises
    ------
    WriteFailed
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"{folder}: the folder could not be made: {error.strerror}") from error


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a small file atomically."""
    with atomic_output(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Write a small UTF-8 text file atomically, with ``\\n`` line ends on every system."""
    return write_bytes(path, text.encode("utf-8"))


def remove_stale(folder: Path) -> None:
    """Remove temporary files and folders that dead writers left in a folder.

    One of them is stale when the process that its name tells is gone from this computer, or,
    on another computer that shares the folder, when it is a day old.
    """
    for entry in os.scandir(folder):
        named = _TEMPORARY.match(entry.name)
        if named is None:
            continue
        try:
            old = time.time() - entry.stat().st_mtime > _STALE_AFTER_S
            if old or (named["host"] == host_mark() and not is_alive(int(named["pid"]))):
                _remove(Path(entry.path))
        except (FileNotFoundError, PermissionError):
            continue  # its writer has just finished, or it is someone else's


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def host_mark() -> str:
    """Eight hex digits that tell this computer from others without naming it."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """Whether a process of this computer runs; its number may have passed to another one since."""
    if sys.platform == "win32":  # os.kill would end the process there
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
        if not handle:
            return False
        still_running = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == 0x102
        ctypes.windll.kernel32.CloseHandle(handle)
        return bool(still_running)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _flush(path: Path) -> None:
    with path.open("rb+") as file:  # Windows flushes only handles that may write
        os.fsync(file.fileno())


def _flush_tree(folder: Path) -> None:
    if sys.platform == "linux":
        os.sync()  # waits there; one call, where thousands of small files would each take milliseconds
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush(Path(parent, name))
        _flush_folder(Path(parent))


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open a folder; the rename itself is journalled there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems do not flush folders
        return
    finally:
        os.close(handle)
