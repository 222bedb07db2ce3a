"""Stored samples of one frame, native or compressed, unpacked into an array; nothing is rescaled here."""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom import codestream, decoder, layout, pool, rle
from medseg.io.dicom.codestream import BadPixels
from medseg.io.dicom.fragments import Stream, streams
from medseg.io.dicom.objects import Source, StoredImage
from medseg.io.dicom.sources import FileSource, Inflated, ZipMember

# A frame of one value shrinks without bound; one that is both large and that empty is made to fill memory.
_LARGEST_RATIO, _SMALL_BYTES = 1024, 1 << 24
# No encoder makes a stream much larger than what it holds.
_LARGEST_STREAM = 4, 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An object whose layout has been checked; its frames can be read in any order, by any thread.

    ``source`` may be a copy in memory, where reading in the middle of the original is slow. ``streams``
    are the compressed frames, None where the pixels are native.
    """

    image: StoredImage
    source: Source
    streams: tuple[Stream, ...] | None

    @property
    def codec(self) -> str | None:
        """What compresses the frames."""
        return None if self.streams is None else codestream.CODECS[self.image.transfer_syntax]


@dataclass(frozen=True, slots=True)
class _Held:
    """An object's bytes, in memory."""

    path: Path
    name: str
    content: bytes

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.content)

    def read(self, start: int, count: int) -> bytes:
        """As `Source.read`."""
        return self.content[start : start + count]


def open_image(image: StoredImage) -> Opened:
    """Check what an object says of its pixels, and find its frames.

    Raises
    ------
    BadPixels
        As `layout.check` and `fragments.streams`.
    """
    layout.check(image)
    native = image.transfer_syntax in layout.NATIVE
    source = image.source
    is_slow = isinstance(source, Inflated) or (isinstance(source, ZipMember) and source.deflated)
    if is_slow and (image.frames > 1 or not native):
        source = _Held(source.path, source.name, source.read(0, source.size))
    return Opened(image, source, None if native else streams(image, source))


def check_frame(opened: Opened, number: int) -> None:
    """Everything that can be known of one frame without decoding it.

    Raises
    ------
    BadPixels
        ``truncated`` where bytes are missing, ``undecodable`` where the compressed stream is not what the
        object's header says, ``too-large`` where it would unpack to a thousand times its size.
    """
    if not 0 <= number < opened.image.frames:
        raise BadPixels(f"frame {number + 1} of {opened.image.frames}")
    if opened.streams is None:
        return
    stream = opened.streams[number]
    _check_sizes(opened.image, stream.size)
    if opened.codec == "rle":
        width = layout.container(opened.image).itemsize
        rle.segments(stream.read, stream.size, opened.image.samples * width)
    elif opened.codec not in ("raw", "deflate"):
        _agreeing(opened, codestream.inspect(str(opened.codec), stream.read, stream.size))


def read_frame(opened: Opened, number: int, raw: NDArray[Any]) -> None:
    """Read one frame into ``raw``: (row, column) or (row, column, sample), C order, unsigned.

    Unused bits are cleared, or filled with the sign where samples are signed, so that ``raw`` viewed as
    a signed type holds the values. Colours become RGB.

    Raises
    ------
    BadPixels
        As `check_frame`, and ``undecodable`` where decoding fails.
    """
    image = opened.image
    if opened.streams is None:
        _read_native(opened, number, raw)
    else:
        _read_compressed(opened, number, raw)
    if image.bits[0] > 1:
        _clear_unused_bits(image, raw)
    if image.photometric.startswith("YBR_FULL") and opened.codec != "jpeg":
        _to_rgb(raw)


def _check_sizes(image: StoredImage, compressed: int) -> None:
    unpacked = layout.frame_bytes(image)
    times, more = _LARGEST_STREAM
    if compressed > times * unpacked + more:
        raise BadPixels(f"{compressed} compressed bytes for a frame of {unpacked}")
    if unpacked > max(_SMALL_BYTES, _LARGEST_RATIO * compressed):
        raise BadPixels(f"{compressed} compressed bytes for a frame of {unpacked}", "too-large")


def _agreeing(opened: Opened, found: codestream.Codestream) -> codestream.Codestream:
    image = opened.image
    if (found.rows, found.columns, found.samples) != (image.rows, image.columns, image.samples):
        raise BadPixels(
            f"the compressed stream holds {found.columns} x {found.rows} pixels of {found.samples} samples, "
            f"the header says {image.columns} x {image.rows} of {image.samples}"
        )
    if not 1 <= found.precision <= image.bits[0]:
        raise BadPixels(f"the compressed stream has {found.precision} bits, the header {image.bits[0]}")
    return found


def _read_compressed(opened: Opened, number: int, raw: NDArray[Any]) -> None:
    assert opened.streams is not None
    image, found = opened.image, opened.streams[number]
    _check_sizes(image, found.size)
    stream = found.read(0, found.size)
    if opened.codec == "rle":
        rle.decode(stream, raw)
    elif opened.codec in ("raw", "deflate"):
        size = -(-layout.stored_bits(image) // 8)
        content = stream if opened.codec == "raw" else _inflate(stream, size)
        if not size <= len(content) <= size + 1:
            raise BadPixels(f"a frame of {len(content)} bytes, expected {size}", "truncated")
        _unpack(image, content, 0, raw)
    else:
        _decode(opened, stream, raw)


def _inflate(stream: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, size + 2)
    except zlib.error:
        raise BadPixels("a deflated frame is damaged") from None


def _decode(opened: Opened, stream: bytes, raw: NDArray[Any]) -> None:
    """Have a decoding process unpack a stream, which has to be what its header and the object's say."""
    image, codec = opened.image, str(opened.codec)
    said = codestream.inspect(codec, lambda at, count: stream[at : at + count], len(stream))
    _agreeing(opened, said)
    codestream.check_scan(codec, stream, said)
    if codec == "jpeg" and said.precision > 8:
        codec = "jpeg-12"
    request = decoder.Request(
        decoder.DECODE,
        decoder.CODECS.index(codec),
        image.rows,
        image.columns,
        image.samples,
        said.precision,
        said.signed,
        image.photometric == "RGB",
        raw.itemsize,
    )
    pool.shared().decode(request, stream, raw.reshape(-1).view(np.uint8).data)
    if sys.byteorder == "big":
        raw.byteswap(inplace=True)


def _read_native(opened: Opened, number: int, raw: NDArray[Any]) -> None:
    image, source = opened.image, opened.source
    assert image.pixels_at is not None
    is_big = image.transfer_syntax in layout.BIG_ENDIAN
    in_pairs = is_big and image.bits[0] <= 8 and source.read(image.pixels_at - 8, 2) == b"OW"
    bits = layout.stored_bits(image)
    first, end = number * bits // 8, -(-(number + 1) * bits // 8)
    if in_pairs:
        first, end = first - first % 2, end + end % 2
    plain = image.bits[0] > 1 and image.planar == 0 and raw.nbytes == end - first and not in_pairs
    if plain and isinstance(source, FileSource):
        _read_into(source.path, image.pixels_at + first, raw)
    else:
        content = source.read(image.pixels_at + first, end - first)
        if len(content) < end - first:
            raise BadPixels("the file ends within its pixel data", "truncated")
        if in_pairs:  # 16-bit words, each the wrong way round
            content = np.frombuffer(content, "u2").byteswap().tobytes()
        _unpack(image, content, number * bits - 8 * first, raw)
    if is_big != (sys.byteorder == "big"):
        raw.byteswap(inplace=True)


def _read_into(path: Path, at: int, raw: NDArray[Any]) -> None:
    """Bytes of a file straight into an array."""
    view = raw.reshape(-1).view(np.uint8).data
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        while view:
            count = file.readinto(view)
            if not count:
                raise BadPixels("the file ends within its pixel data", "truncated")
            view = view[count:]


def _unpack(image: StoredImage, content: bytes, skipped_bits: int, raw: NDArray[Any]) -> None:
    """Native bytes of a frame, beginning ``skipped_bits`` before it, to one element per sample."""
    found = np.frombuffer(content, np.uint8)
    if image.bits[0] == 1:
        bits = np.unpackbits(found, bitorder="little")
        raw[...] = bits[skipped_bits : skipped_bits + raw.size].reshape(raw.shape)
        return
    found = found[skipped_bits // 8 :]
    if image.photometric == "YBR_FULL_422":  # luminance, luminance, and the chrominances of both
        fours = found[: 2 * image.rows * image.columns].reshape(-1, 4)
        pixels = raw.reshape(-1, 2, 3)
        pixels[..., 0], pixels[..., 1:] = fours[:, :2], fours[:, None, 2:]
        return
    values = found[: raw.nbytes].view(raw.dtype)
    if image.planar:
        values = values.reshape(image.samples, -1).T
    raw[...] = values.reshape(raw.shape)


def _clear_unused_bits(image: StoredImage, raw: NDArray[Any]) -> None:
    width, stored, high, signed = image.bits
    if stored == width:
        return
    if signed:
        raw <<= width - 1 - high
        raw.view(f"i{raw.itemsize}")[...] >>= width - stored
        return
    if high >= stored:
        raw >>= high + 1 - stored
    raw &= (1 << stored) - 1


def _to_rgb(raw: NDArray[Any]) -> None:
    """Luminance and chrominances to red, green and blue, in place (PS3.3 C.7.6.3.1.2: the full range)."""
    for row in raw:  # so that no frame of floats is needed
        luminance, blue, red = row.T.astype(np.float32) - np.array([[0], [128], [128]], np.float32)
        green = luminance - 0.344136 * blue - 0.714136 * red
        colours = np.stack((luminance + 1.402 * red, green, luminance + 1.772 * blue), -1)
        row[...] = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
