"""The process that decodes compressed frames: a program of its own, run by `pool`.

Decoders are C libraries that read streams from anywhere. Here a crash, an endless loop or a hunger for memory
ends a small process that holds nothing but the frame in hand. It is run by its path, imports nothing of
medseg, loads a codec when it is told to, and ends with its input.

Requests come on standard input, replies go to standard output: a header each, then bytes.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_REQUEST = struct.Struct("<BBIIHB??BQ")
# Status, bytes that follow: the pixels, or the name of an exception.
REPLY = struct.Struct("<BQ")
LOAD, DECODE = 0, 1
DONE, FAILED, OUT_OF_MEMORY = 0, 1, 2
CODECS = ("jpeg", "jpeg-12", "jpeg-lossless", "jpeg-ls", "jpeg-2000")

MEMORY_BYTES = 1 << 30
# What a frame may take beside its stream: its pixels as 32-bit integers, twice, and as they are returned;
# and the tables of a decoder.
_BYTES_PER_SAMPLE, _SPARE_BYTES = 12, 96 << 20
# What decoders raise on a bad stream. Anything else ends the process, which says as much.
_BAD_STREAM = (
    ValueError, RuntimeError, OSError, SyntaxError, EOFError, TypeError, ArithmeticError, LookupError,
    ImportError,
)  # fmt: skip
_SECONDARY_CAPTURE = b"1.2.840.10008.5.1.4.1.1.7"


class Request(NamedTuple):
    """What to do with the stream that follows.

    ``precision`` and ``signed`` are what the codestream says; ``width`` is how many bytes each sample is to
    have in the reply; ``as_stored`` asks for no conversion of colours.
    """

    operation: int
    codec: int
    rows: int = 0
    columns: int = 0
    samples: int = 0
    precision: int = 0
    signed: bool = False
    as_stored: bool = False
    width: int = 1
    length: int = 0

    def pack(self) -> bytes:
        """The request's header."""
        return _REQUEST.pack(*self)


# Pixels (row, column) or (row, column, sample) of a stream.
Decode = Callable[[bytes, Request], Any]


def main() -> None:
    """Answer requests until standard input ends. The argument names a folder to use, and to remove."""
    scratch = Path(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us by closing the pipe
    forbid_core_files()
    try:
        with os.fdopen(os.dup(1), "wb") as replies:
            os.dup2(2, 1)  # what a library prints is no pixels
            _serve(sys.stdin.buffer, replies, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _serve(requests: BinaryIO, replies: BinaryIO, scratch: Path) -> None:
    loaded: dict[int, Decode] = {}
    while head := requests.read(_REQUEST.size):
        request = Request(*_REQUEST.unpack(head))
        status, content = _answer(request, requests.read(request.length), loaded, scratch)
        replies.write(REPLY.pack(status, len(content)))
        replies.write(content)
        replies.flush()
        if status == OUT_OF_MEMORY:
            return  # what is left is nothing to build on


def _answer(request: Request, stream: bytes, loaded: dict[int, Decode], scratch: Path) -> tuple[int, bytes]:
    try:
        if request.operation == LOAD:
            limit_memory(MEMORY_BYTES)
            loaded[request.codec] = _load(CODECS[request.codec], scratch)
            return DONE, b""
        samples = request.rows * request.columns * request.samples
        limit_memory(_taken() + _SPARE_BYTES + _BYTES_PER_SAMPLE * samples)
        pixels = loaded[request.codec](stream, request)
        return DONE, pixels.astype(f"<u{request.width}", copy=False).tobytes()
    except MemoryError:
        return OUT_OF_MEMORY, b"MemoryError"
    except _BAD_STREAM as error:
        # The exception's own words may quote what the stream holds.
        return FAILED, type(error).__name__.encode()


def forbid_core_files() -> None:
    """A crash must not leave pixels on the disk."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(count: int) -> None:
    """Cap the address space. Only Linux keeps such a limit; elsewhere the headers' limits have to do."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (min(count, most), hard))


def _taken() -> int:
    """Bytes of address space in use."""
    if sys.platform != "linux":
        return 0
    import resource

    pages = Path("/proc/self/statm").read_bytes().split()[0]
    return int(pages) * resource.getpagesize()


def _load(codec: str, scratch: Path) -> Decode:
    """Import what decodes a codec; only then is it known to work here."""
    if codec == "jpeg-2000":
        import openjpeg  # noqa: F401

        return _openjpeg
    if codec == "jpeg-ls":
        import jpeg_ls  # type: ignore[import-untyped]  # noqa: F401

        return _charls
    import numpy  # noqa: F401

    if codec == "jpeg":
        import PIL.JpegImagePlugin  # noqa: F401

        return _pillow
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # type: ignore[no-untyped-call]
    scratch.mkdir(mode=0o700, exist_ok=True)
    syntax = b"1.2.840.10008.1.2.4.51" if codec == "jpeg-12" else b"1.2.840.10008.1.2.4.57"
    return partial(_gdcm, syntax, scratch / "frame.dcm")


def _openjpeg(stream: bytes, request: Request) -> Any:
    import openjpeg

    width = 1 if request.precision <= 8 else 2 if request.precision <= 16 else 4
    found = openjpeg.decode(stream, 0, reshape=False)  # type: ignore[attr-defined]
    pixels = found.view(f"{'i' if request.signed else 'u'}{width}")
    return pixels.reshape(request.rows, request.columns, request.samples)


def _charls(stream: bytes, request: Request) -> Any:
    import jpeg_ls
    import numpy as np

    found, header = jpeg_ls.CharLS.decode_buffer(stream)
    pixels = np.frombuffer(found, "<u1" if request.precision <= 8 else "<u2")
    if request.samples > 1 and header["interleave_mode"] == 0:  # one sample after the other
        return pixels.reshape(request.samples, request.rows, request.columns).transpose(1, 2, 0)
    return pixels.reshape(request.rows, request.columns, request.samples)


def _pillow(stream: bytes, request: Request) -> Any:
    import numpy as np
    from PIL import Image

    image = Image.open(io.BytesIO(stream), formats=("JPEG",))
    if request.as_stored and request.samples == 3 and not {"adobe", "jfif"} & image.info.keys():
        # Without a mark libjpeg takes three samples for luminance and chrominance; they are what DICOM says.
        image.draft("YCbCr", None)
    return np.asarray(image).reshape(request.rows, request.columns, request.samples)


def _gdcm(syntax: bytes, path: Path, stream: bytes, request: Request) -> Any:
    """GDCM, by way of a file that holds nothing but the stream."""
    import SimpleITK as sitk

    try:
        path.write_bytes(_bare_dicom(syntax, stream, request))
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    finally:
        path.unlink(missing_ok=True)
    return pixels.reshape(request.rows, request.columns, request.samples)


def _bare_dicom(syntax: bytes, stream: bytes, request: Request) -> bytes:
    """The smallest DICOM file around a stream."""
    stream += b"\0" * (len(stream) % 2)
    meta = _element(2, 2, b"UI", _SECONDARY_CAPTURE) + _element(2, 3, b"UI", b"2.25.1")
    meta += _element(2, 0x10, b"UI", syntax)
    dataset = _element(8, 0x16, b"UI", _SECONDARY_CAPTURE) + _element(8, 0x18, b"UI", b"2.25.1")
    dataset += _number(0x02, request.samples)
    dataset += _element(0x28, 0x04, b"CS", b"RGB " if request.samples == 3 else b"MONOCHROME2 ")
    dataset += _number(0x06, 0) if request.samples > 1 else b""
    dataset += _number(0x10, request.rows) + _number(0x11, request.columns)
    dataset += _number(0x100, 8 if request.precision <= 8 else 16) + _number(0x101, request.precision)
    dataset += _number(0x102, request.precision - 1) + _number(0x103, 0)
    items = b"\xfe\xff\0\xe0" + bytes(4) + b"\xfe\xff\0\xe0" + struct.pack("<I", len(stream)) + stream
    pixels = struct.pack("<HH2sxxI", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF) + items + b"\xfe\xff\xdd\xe0" + bytes(4)
    head = bytes(128) + b"DICM" + _element(2, 0, b"UL", struct.pack("<I", len(meta)))
    return head + meta + dataset + pixels


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _element(0x28, number, b"US", struct.pack("<H", value))


if __name__ == "__main__":
    main()
