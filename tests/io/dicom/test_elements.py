"""Data sets taken apart, against pydicom; hostile ones refused by BadHeader and by nothing else."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence

from medseg.io.dicom import sources, tags
from medseg.io.dicom.elements import BadHeader, DataSet, Parsed, read_dataset
from medseg.io.dicom.sources import FileSource

CANARY = "CANARY^NAME"
SYNTAXES = {
    "implicit": uid.ImplicitVRLittleEndian,
    "explicit": uid.ExplicitVRLittleEndian,
    "big": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}
KEYWORDS = {value: name for name, value in vars(tags).items() if isinstance(value, int)}


@dataclass
class Memory:
    """Bytes as a source."""

    content: bytes
    path: Path = Path("memory.dcm")
    name: str = "memory.dcm"

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, start: int, count: int) -> bytes:
        return self.content[start : start + count]


def parse(content: bytes) -> Parsed:
    return read_dataset(Memory(content))


def written(dataset: Dataset, syntax: str = "explicit") -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.CTImageStorage, "1.2.3"
    meta.TransferSyntaxUID = SYNTAXES[syntax]
    file = io.BytesIO()
    whole = FileDataset(file, dataset, file_meta=meta, preamble=bytes(128))
    pydicom.dcmwrite(file, whole, enforce_file_format=True)
    return file.getvalue()


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def image(**values: Any) -> Dataset:
    made = item(
        SOPClassUID=uid.CTImageStorage, SOPInstanceUID="1.2.3", PatientName=CANARY, Modality="CT",
        SeriesInstanceUID="1.2.4", SeriesNumber=7, ImagePositionPatient=[-1.5, 2.25, 1e-3],
        Rows=2, Columns=3, BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0,
        PixelData=bytes(range(12)),
    )  # fmt: skip
    made["PixelData"].VR = "OW"
    made.update(item(**values))
    return made


def nested(undefined: bool) -> Dataset:
    """A data set with sequences in sequences, private elements, and every kind of number."""
    inner = item(DiffusionBValue=711.5, DimensionIndexValues=[1, 70000, 3])
    frames = [item(MRDiffusionSequence=Sequence([inner])), item(FrameContentSequence=Sequence())]
    made = image(PerFrameFunctionalGroupsSequence=Sequence(frames))
    made.DimensionIndexSequence = Sequence([item(DimensionIndexPointer=0x00209057)])
    made.EchoTime, made.ImageType = 4.9, ["ORIGINAL", "PRIMARY", "", "M"]
    block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0D, "SQ", Sequence([item(Rows=99)]))
    for name in ("PerFrameFunctionalGroupsSequence", "DimensionIndexSequence"):
        made[name].is_undefined_length = undefined
        for part in made[name].value:
            part.is_undefined_length_sequence_item = undefined
    return made


def assert_same(ours: DataSet, theirs: Dataset) -> None:
    """Every element that medseg knows: there or not, and its value."""
    for tag in KEYWORDS:
        if tag in (tags.PixelData, tags.PixelPaddingValue):  # the sign of the latter is another element's
            continue
        element = theirs.get(tag)
        assert (tag in ours) == (element is not None)
        if element is not None:
            assert_same_value(ours, tag, element)


def assert_same_value(ours: DataSet, tag: int, element: Any) -> None:
    value = element.value
    if element.VR == "SQ":
        found = ours.items(tag)
        assert len(found) == len(value)
        for mine, other in zip(found, value, strict=True):
            assert_same(mine, other)
    elif element.VR in ("US", "SS", "UL", "SL", "FD", "FL", "DS", "IS"):
        listed = [] if value in (None, "") else value if element.VM > 1 else [value]
        numbers = ours.numbers(tag)
        assert [float(x) for x in listed] == ([] if numbers is None else list(numbers))
    elif element.VR in ("CS", "UI", "DA", "TM", "DT"):
        listed = [] if value in (None, "") else list(value) if element.VM > 1 else [value]
        assert tuple(str(word) for word in listed) == ours.words(tag)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_data_set_reads_as_pydicom_reads_it(syntax: str, undefined: bool) -> None:
    content = written(nested(undefined), syntax)
    parsed, theirs = parse(content), pydicom.dcmread(io.BytesIO(content))
    assert_same(parsed.dataset, theirs)
    tag = parsed.dataset.private(0x0019, "SIEMENS MR HEADER", 0x0C)
    assert tag is not None
    assert parsed.dataset.integer(tag) == 1000
    assert parsed.transfer_syntax == SYNTAXES[syntax]
    assert parsed.pixels_at is not None
    assert parsed.source.read(parsed.pixels_at, parsed.pixels_length or 0) == theirs.PixelData


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big"])
def test_a_data_set_without_preamble_and_meta_group_is_recognised(syntax: str) -> None:
    file = io.BytesIO()
    little = syntax != "big"
    pydicom.dcmwrite(file, image(), implicit_vr=syntax == "implicit", little_endian=little)
    parsed = parse(file.getvalue())
    assert parsed.dataset.integer(tags.Columns) == 3
    assert parsed.transfer_syntax == SYNTAXES[syntax]


def test_a_meta_group_without_preamble_is_recognised() -> None:
    assert parse(written(image())[132:]).dataset.integer(tags.Rows) == 2


def test_what_is_written_outweighs_a_wrong_transfer_syntax() -> None:
    content = written(image(), "explicit").replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    assert parse(content).dataset.integer(tags.Rows) == 2
    assert parse(content).transfer_syntax == uid.ExplicitVRLittleEndian


def test_sequences_that_passed_through_an_unknowing_system_are_read() -> None:
    """A sequence stored as UN is written implicitly (PS3.5, section 6.2.2)."""
    inside = struct.pack("<HHI", 0x0028, 0x0010, 2) + struct.pack("<H", 512)
    for length, end in ((len(inside), b""), (0xFFFFFFFF, struct.pack("<HHI", 0xFFFE, 0xE00D, 0))):
        content = struct.pack("<HHI", 0xFFFE, 0xE000, length) + inside + end
        stored = struct.pack("<HH2sHI", 0x5200, 0x9229, b"UN", 0, len(content)) + content
        last = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        open_ended = struct.pack("<HH2sHI", 0x5200, 0x9229, b"UN", 0, 0xFFFFFFFF) + content + last
        for variant in (stored, open_ended):
            parsed = parse(written(item(Modality="MR")) + variant)
            (found,) = parsed.dataset.items(tags.SharedFunctionalGroupsSequence)
            assert found.integer(tags.Rows) == 512


@pytest.mark.parametrize(("vr", "long"), [(b"??", False), (b"  ", False), (b"QX", True)])
def test_private_elements_may_have_representations_of_their_own(vr: bytes, long: bool) -> None:
    """As DCMTK reads them; in the standard's own groups they are damage."""
    tail = struct.pack("<HH2sH", 0x0029, 0x0010, b"LO", 2) + b"A "
    length = b"\0\0" + struct.pack("<I", 4) if long else struct.pack("<H", 4)
    for group in (0x0021, 0x0022):
        content = (
            written(item(Modality="CT")) + struct.pack("<HH", group, 0x1001) + vr + length + b"abcd" + tail
        )
        if group % 2:
            assert parse(content).dataset.text(0x00290010) == "A"
        else:
            with pytest.raises(BadHeader, match="value representation"):
                parse(content)


@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        ("ISO_IR 100", "Läsion".encode("latin-1"), "Läsion"),
        ("ISO_IR 192", "肝臓".encode(), "肝臓"),
        ("\\ISO 2022 IR 87", "肝臓".encode("iso2022_jp"), "肝臓"),
    ],
)
def test_names_of_labels_are_decoded_by_the_character_set(charset: str, raw: bytes, name: str) -> None:
    made = item(SegmentSequence=Sequence([Dataset()]))
    made.add_new("SpecificCharacterSet", "LO", charset.split("\\"))
    made.SegmentSequence[0].add_new("SegmentLabel", "UN", raw + b" " * (len(raw) % 2))
    (segment,) = parse(written(made)).dataset.items(tags.SegmentSequence)
    assert segment.name(tags.SegmentLabel) == name


def test_a_character_set_that_does_not_exist_is_kept_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    made = item(SpecificCharacterSet="ISO_IR 100", SegmentSequence=Sequence([item(SegmentLabel="Läsion")]))
    content = written(made).replace(b"ISO_IR 100", CANARY[:10].encode())
    (segment,) = parse(content).dataset.items(tags.SegmentSequence)
    assert segment.name(tags.SegmentLabel) is not None
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        "nan",
        "inf",
        "1e999",
        "1_0",
        "0x10",
        "1,5",
        "1.5.",
        "--1",
        "1\\",
        "\u0661".encode().decode("latin-1"),
    ],
)
def test_malformed_numbers_are_refused_without_quoting_them(text: str) -> None:
    made = image()
    made.add_new("SliceThickness", "LO", text)
    dataset = parse(written(made)).dataset
    with pytest.raises(BadHeader, match=r"SliceThickness \(0018,0050\)") as caught:
        dataset.numbers(tags.SliceThickness)
    assert text not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_wrong_count_of_numbers_is_refused() -> None:
    dataset = parse(written(image(PixelSpacing=[1, 2]))).dataset
    with pytest.raises(BadHeader, match="2 numbers, expected 3"):
        dataset.numbers(tags.PixelSpacing, 3)


def test_an_element_that_stands_twice_has_no_value() -> None:
    content = written(item(Modality="CT", SeriesNumber=1))
    again = struct.pack("<HH2sH", 0x0020, 0x0011, b"IS", 2) + b"2 "
    with pytest.raises(BadHeader, match="twice"):
        parse(content + again).dataset.integer(tags.SeriesNumber)


def test_only_pixel_data_may_reach_past_the_end() -> None:
    content = written(image())
    assert parse(content[:-1]).pixels_length == 12
    assert parse(content + bytes(64)).pixels_length == 12
    whole = written(item(Modality="CT", StudyInstanceUID="1.2.3.4"))
    assert parse(whole + bytes(512)).dataset.text(tags.Modality) == "CT"  # some writers fill blocks
    for missing in range(1, 12):
        with pytest.raises(BadHeader):
            parse(whole[:-missing])


def sequences(depth: int) -> bytes:
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    return (opening + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


def explicit_sequences(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
        content = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(content)) + content
    return content


def test_deep_nesting_is_refused_at_once() -> None:
    start = time.process_time()
    with pytest.raises(BadHeader, match="nested deeper than 64"):
        parse(written(item(Modality="CT")) + sequences(5000))
    with pytest.raises(BadHeader, match="nested deeper than 64"):
        parse(written(item(Modality="CT")) + explicit_sequences(5000))
    dataset = parse(written(item(Modality="CT")) + explicit_sequences(60)).dataset
    for _ in range(50):
        (dataset,) = dataset.items(tags.ReferencedImageSequence)
    assert time.process_time() - start < 2


def test_a_flood_of_empty_items_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.io.dicom.tokens._MOST_ELEMENTS", 1000)
    flood = sequences(1)[:12] + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2000
    with pytest.raises(BadHeader):
        parse(written(item(Modality="CT")) + flood)


def test_a_deflated_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_LARGEST_INFLATED", 1 << 20)
    content = written(image(PixelData=bytes(4 << 20)), "deflated")
    assert len(content) < 10_000
    with pytest.raises(BadHeader, match="beyond all use") as caught:
        parse(content)
    assert caught.value.code == "too-large"


def deflated_at(content: bytes) -> int:
    """Where the deflated data set of a file begins: behind the meta group, whose length comes first."""
    return 144 + int.from_bytes(content[140:144], "little")


def test_a_deflated_data_set_that_is_cut_is_refused() -> None:
    content = written(nested(True), "deflated")
    end = len(content) - (content[-1] == 0)
    for length in (*range(deflated_at(content) + 8, end, 7), end - 1):
        with pytest.raises(BadHeader, match="damaged or incomplete") as caught:
            parse(content[:length])
        assert caught.value.code == "corrupt"


def test_a_deflated_data_set_that_is_damaged_behind_its_pixels_is_refused() -> None:
    made = image()
    made.add_new(0xFFFCFFFC, "OB", bytes(range(256)) * 8)
    content = written(made, "deflated")
    start = deflated_at(content)
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    # Stored, so that the place of the pixels in the stream is known; then a block of a kind that is none.
    stream = zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
    behind = plain.index(b"\xe0\x7f\x10\0") + 24 + 256
    stored = stream.compress(plain[:behind]) + stream.flush(zlib.Z_FULL_FLUSH)
    assert parse(content).pixels_length == 12
    with pytest.raises(BadHeader, match="damaged or incomplete") as caught:
        parse(content[:start] + stored + b"\xff" * 64)
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize("behind", [b"\x01\x02\x03\x04" * 4, bytes(7) + b"\1" + bytes(40)])
def test_bytes_behind_deflated_pixels_that_are_no_element_are_refused(behind: bytes) -> None:
    content = written(image(), "deflated")
    start = deflated_at(content)
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    with pytest.raises(BadHeader, match="follows the pixels") as caught:
        parse(content[:start] + stream.compress(plain + behind) + stream.flush())
    assert caught.value.code == "size-mismatch"


def test_padding_behind_many_compressed_pixels_does_not_count_as_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medseg.io.dicom.tokens._LONGEST_COMPRESSED", 1 << 18)
    made = image(PixelData=bytes(1 << 19))
    made.add_new(0xFFFCFFFC, "OB", b"\1" * 6)
    assert parse(written(made, "deflated")).pixels_length == 1 << 19


def test_no_value_is_read_that_no_header_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.io.dicom.tokens._LARGEST_VALUE", 1 << 16)
    made = image(PixelData=bytes(12))
    made.add_new("RedPaletteColorLookupTableData", "OW", bytes(1 << 17))
    parsed = parse(written(made))
    assert parsed.pixels_length == 12
    with pytest.raises(BadHeader, match="131072 bytes"):
        parsed.dataset.value(0x00281201)


@given(seed=st.integers(0, 2**32 - 1), syntax=st.sampled_from(sorted(SYNTAXES)), undefined=st.booleans())
def test_damaged_headers_parse_or_are_refused(seed: int, syntax: str, undefined: bool) -> None:
    rng = random.Random(seed)
    content = bytearray(written(nested(undefined), syntax))
    for _ in range(rng.choice((1, 2, 8, 30))):
        at = rng.randrange(128, len(content))
        content[at : at + rng.choice((0, 1, 4))] = rng.choice(
            (b"", b"\xff\xff\xff\xff", b"\0", rng.randbytes(2))
        )
    with refusing():
        walk(parse(bytes(content)).dataset)


@contextmanager
def refusing() -> Iterator[None]:
    """What happens inside may be refused by BadHeader, without a word of the patient."""
    try:
        yield
    except BadHeader as error:
        if "CANARY" in str(error):
            raise AssertionError("the message names the patient") from error


def walk(dataset: DataSet) -> None:
    """Ask for everything, in every way."""
    for tag in KEYWORDS:
        for ask in (dataset.text, dataset.words, dataset.integer, dataset.numbers):
            with refusing():
                ask(tag)
        with refusing():
            for inner in dataset.items(tag):
                inner.text(tags.StackID)


def test_real_headers_read_as_pydicom_reads_them(real_data: Path) -> None:
    folders = sorted({path.parent for path in (real_data / "dicom").rglob("*.*")})
    paths = [path for folder in folders for path in sorted(folder.iterdir())[:4] if path.is_file()]
    read = [path for path in paths if pydicom.misc.is_dicom(path)]
    assert len(read) > 50
    for path in read:
        parsed, theirs = read_dataset(FileSource.of(path)), pydicom.dcmread(path, defer_size=1024)
        assert parsed.transfer_syntax == theirs.file_meta.TransferSyntaxUID
        assert_same(parsed.dataset, theirs)
        assert (parsed.pixels_at is not None) == ("PixelData" in theirs)


def test_tags_and_their_representations_are_those_of_the_standard() -> None:
    binary = {"US", "SS", "UL", "SL", "FL", "FD", "AT", "UV", "SV"}
    for tag, keyword in KEYWORDS.items():
        if keyword.isupper() or keyword.startswith("_"):
            continue
        assert tag_for_keyword(keyword) == tag
        vr = dictionary_VR(tag)
        if vr in binary:
            assert tags.stored_as(tag).decode() == vr
        elif vr not in ("US or SS", "OB or OW"):
            assert tags.stored_as(tag) == b""


def test_numbers_are_float64_in_the_order_of_the_header() -> None:
    found = parse(written(image(), "big")).dataset.numbers(tags.ImagePositionPatient, 3)
    assert found is not None
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [-1.5, 2.25, 1e-3])


@pytest.mark.parametrize("behind", [b"\x01\x02\x03\x04" * 4, b"\0\0\1\0" * 40, bytes(7) + b"\1" + bytes(40)])
def test_bytes_behind_the_pixels_that_are_no_element_tell_of_shifted_pixels(behind: bytes) -> None:
    content = written(image())
    with pytest.raises(BadHeader, match="follows the pixels") as caught:
        parse(content + behind)
    assert caught.value.code == "size-mismatch"


def test_elements_and_padding_may_follow_the_pixels() -> None:
    content = written(image())
    padding = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 6) + b"\1" * 6
    for behind in (bytes(2), bytes(600), padding, padding + bytes(100)):
        assert parse(content + behind).pixels_length == parse(content).pixels_length
