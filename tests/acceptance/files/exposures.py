"""Scans that name the patient of `canary`: in every text field, and where a number or code should be.

An exposure is a `Seed` as well: some files, and which of them to read.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import pydicom
import SimpleITK as sitk
import tifffile
from PIL import Image
from pydicom.datadict import dictionary_VR

from tests.acceptance.files.canary import CANARY, FAMILY, GIVEN
from tests.acceptance.files.seeds import FAMILIES, Seed, make_seeds, oblique_affine, voxels
from tests.acceptance.files.seeds_dicom import (
    SERIES,
    SLICES,
    enhanced,
    made_slice,
    saved_raw,
    set_raw,
    to_bytes,
)
from tests.acceptance.files.seeds_labels import segmentation, structure_set

_TAGS = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept",
    "InstanceNumber", "SeriesNumber", "NumberOfFrames", "SliceThickness", "SpacingBetweenSlices",
    "EchoTime", "AcquisitionNumber", "TemporalPositionIdentifier", "WindowCenter", "PatientAge",
    "PatientWeight", "SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID",
    "FrameOfReferenceUID", "Modality", "PhotometricInterpretation", "ImageType",
    "BodyPartExamined", "PatientPosition", "LossyImageCompression", "StudyDate", "SeriesTime",
    "ContentTime", "AcquisitionDateTime", "RetrieveAETitle", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "DiffusionBValue",
    "PixelPaddingValue", "TriggerTime", "ImageComments", "RescaleType", "SequenceName", "ProtocolName",
    "ManufacturerModelName", "Manufacturer", "FrameAcquisitionNumber",
)  # fmt: skip
_META = (
    "TransferSyntaxUID", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID",
    "SourceApplicationEntityTitle", "ImplementationVersionName", "ImplementationClassUID",
)  # fmt: skip


# Bytes of text that a binary header's layout makes numbers: as numbers they place voxels and are kept.
AS_NUMBERS = "text taken as numbers"
# Names of structures are data: in label sets and label files, and there alone.
AS_LABELS = "names of structures"


def all_exposures(folder: Path) -> list[Seed]:
    """Every seed of the fuzz harness, and every malformed header below."""
    found = [seed for family in FAMILIES for seed in make_seeds(family, folder)]
    for maker in (_dicom, _dicom_labels, _named_structures, _archives, _nifti, _text_headers, _pictures):
        found += maker()
    return found


def _raw(item: pydicom.Dataset, name: str, value: bytes) -> None:
    set_raw(item, pydicom.tag.Tag(name), value)


def _dicom() -> Iterator[Seed]:
    for name in _TAGS:
        for word in (CANARY.encode(), CANARY.encode() + b"\\1\\2", f"1\\{FAMILY}\\3".encode()):
            items = [made_slice(n) for n in range(SLICES)]
            for item in items if word == CANARY.encode() else items[:1]:
                _raw(item, name, word)
            yield Seed("dicom", f"{name} is {len(word)} bytes of text", _series(items), "")
    for name in _META:
        items = [made_slice(n) for n in range(SLICES)]
        contents = _series(items)
        for key, content in contents.items():
            contents[key] = _changed_meta(content, name)
        yield Seed("dicom", f"{name} in the file meta information", contents, "")
    items = [made_slice(n, SpecificCharacterSet="ISO_IR 192") for n in range(SLICES)]
    named = {key: x.replace(b"ISO_IR 192", CANARY[:10].encode()) for key, x in _series(items).items()}
    yield Seed("dicom", "SpecificCharacterSet is text", named, "")
    yield from _several_series()
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        item = enhanced()
        _raw(
            item.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0],
            name,
            CANARY.encode(),
        )
        yield Seed("dicom", f"{name} of a frame", {"m.dcm": to_bytes(item)}, "m.dcm")
    for name in ("StackID", "InStackPositionNumber", "TemporalPositionIndex", "FrameType"):
        item = enhanced()
        _raw(item.PerFrameFunctionalGroupsSequence[1].FrameContentSequence[0], name, CANARY.encode())
        yield Seed("dicom", f"{name} of a frame", {"m.dcm": to_bytes(item)}, "m.dcm")
    whole = to_bytes(made_slice(0))
    for at, what in ((128, "mark"), (132, "first tag"), (len(whole) // 2, "middle"), (136, "first VR")):
        torn = whole[:at] + CANARY.encode() + whole[at:]
        yield Seed("dicom", f"name over the {what}", {"IM0.dcm": torn}, "IM0.dcm")
    position = whole.index(b"\x20\0\x32\0DS")
    torn = whole[: position + 4] + FAMILY[:2].encode() + whole[position + 6 :]
    yield Seed("dicom", "letters of the name as VR", {"IM0.dcm": torn}, "IM0.dcm")
    yield Seed("dicom", "nothing but the name", {"IM0.dcm": CANARY.encode() * 100}, "IM0.dcm")
    yield Seed("dicom", "cut in the name", {"IM0.dcm": whole[: whole.index(FAMILY.encode()) + 6]}, "IM0.dcm")


def _series(items: list[pydicom.FileDataset]) -> dict[str, bytes]:
    return {f"IM{n}.dcm": saved_raw(item) for n, item in enumerate(items)}


def _changed_meta(content: bytes, name: str) -> bytes:
    """The file with the patient as the value of an element of its file meta information."""
    start = 144 + struct.unpack_from("<I", content, 140)[0]
    meta = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True).file_meta
    elements = {element.tag: (element.VR, str(element.value).encode()) for element in meta}
    elements[pydicom.tag.Tag(name)] = (dictionary_VR(name), CANARY.encode())
    body = b""
    for tag in sorted(elements):
        vr, value = elements[tag]
        if tag.element and vr != "OB":  # neither the group's length nor the version, an OB
            value += b"\0" * (len(value) % 2)
            body += struct.pack("<HH2sH", tag.group, tag.element, vr.encode(), len(value)) + value
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body))
    return bytes(128) + b"DICM" + length + body + content[start:]


def _several_series() -> Iterator[Seed]:
    for name in ("SeriesInstanceUID", "SeriesNumber", "ImageType", "StudyInstanceUID", "FrameOfReferenceUID"):
        items = [made_slice(n) for n in range(SLICES)]
        items += [made_slice(n, SOPInstanceUID=f"{SERIES}.5.{n}") for n in range(SLICES)]
        for item in items[SLICES:]:
            _raw(item, name, CANARY.encode())
        for item in items[:SLICES]:
            _raw(item, name, GIVEN.encode())
        yield Seed("dicom", f"several series told apart by {name}", _series(items), "")


def _dicom_labels() -> Iterator[Seed]:
    for name in ("SegmentNumber", "SegmentLabel", "SegmentAlgorithmType"):
        item = segmentation("BINARY")
        if name != "SegmentLabel":
            _raw(item.SegmentSequence[0], name, CANARY.encode())
        else:
            item.SegmentSequence[0].SegmentLabel = ""
        yield Seed("seg", f"{name} malformed", {"seg.dcm": saved_raw(item)}, "seg.dcm", "read_labels")
    for name in (
        "SegmentationType",
        "MaximumFractionalValue",
        "NumberOfFrames",
        "SegmentationFractionalType",
    ):
        item = segmentation("FRACTIONAL")
        _raw(item, name, CANARY.encode())
        yield Seed("seg", f"{name} malformed", {"seg.dcm": saved_raw(item)}, "seg.dcm", "read_labels")
    series = {f"ct/IM{n}.dcm": to_bytes(made_slice(n)) for n in range(SLICES)}
    for name in ("ContourData", "NumberOfContourPoints", "ContourGeometricType"):
        item = structure_set()
        _raw(item.ROIContourSequence[0].ContourSequence[0], name, CANARY.encode() + b"\\1\\2")
        files = {**series, "rt.dcm": saved_raw(item)}
        yield Seed("rtstruct", f"{name} malformed", files, "rt.dcm", "read_labels", {"scan": "ct"})
    for name in ("ROINumber", "ReferencedFrameOfReferenceUID"):
        item = structure_set()
        _raw(item.StructureSetROISequence[0], name, CANARY.encode())
        files = {**series, "rt.dcm": saved_raw(item)}
        yield Seed("rtstruct", f"{name} malformed", files, "rt.dcm", "read_labels", {"scan": "ct"})
    for name in ("ReferencedROINumber", "ROIDisplayColor"):
        item = structure_set()
        _raw(item.ROIContourSequence[0], name, CANARY.encode())
        files = {**series, "rt.dcm": saved_raw(item)}
        yield Seed("rtstruct", f"{name} malformed", files, "rt.dcm", "read_labels", {"scan": "ct"})
    item = structure_set()
    frame = item.ReferencedFrameOfReferenceSequence[0]
    _raw(
        frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0], "SeriesInstanceUID", CANARY.encode()
    )
    files = {**series, "rt.dcm": saved_raw(item)}
    yield Seed("rtstruct", "SeriesInstanceUID malformed", files, "rt.dcm", "read_labels")


def _named_structures() -> Iterator[Seed]:
    """The name as the name of one structure, and of two: which cannot be told apart."""
    series = {f"ct/IM{n}.dcm": to_bytes(made_slice(n)) for n in range(SLICES)}
    for count in (1, 2):
        for kind in ("BINARY", "FRACTIONAL", "LABELMAP"):
            item = segmentation(kind)
            for segment in item.SegmentSequence[:count]:
                segment.SegmentLabel = CANARY
            files = {"seg.dcm": to_bytes(item)}
            yield Seed("seg", f"{AS_LABELS}: {count} in {kind}", files, "seg.dcm", "read_labels")
        item = segmentation("BINARY")
        for n, segment in enumerate(item.SegmentSequence[:count]):
            segment.SegmentLabel, segment.SegmentNumber = f"{CANARY} {n}", 1
        files = {"seg.dcm": to_bytes(item)}
        yield Seed("seg", f"{AS_LABELS}: {count} under one number", files, "seg.dcm", "read_labels")
        for shape in ("as they are", "overlapping", "far away"):
            item = structure_set()
            for roi in item.StructureSetROISequence[:count]:
                roi.ROIName = CANARY
            contour = item.ROIContourSequence[0].ContourSequence[0]
            if shape == "overlapping":
                item.ROIContourSequence[1].ContourSequence.append(contour)
            if shape == "far away":
                contour.ContourData = [float(x) + 700 for x in contour.ContourData]
            files = {**series, "rt.dcm": to_bytes(item)}
            name = f"{AS_LABELS}: {count} contours {shape}"
            yield Seed("rtstruct", name, files, "rt.dcm", "read_labels", {"scan": "ct"})
        image = sitk.GetImageFromArray(voxels("u1").T % 3)
        for n in range(2):
            for key, value in {"Name": CANARY if n < count else "x", "LabelValue": str(n + 1)}.items():
                image.SetMetaData(f"Segment{n}_{key}", value)
        files = {"x.seg.nrrd": _written(image, ".nrrd")}
        yield Seed("nrrd", f"{AS_LABELS}: {count} segments", files, "x.seg.nrrd", "read_labels")
        bare = nibabel.Nifti1Image(voxels("u1") % 3, oblique_affine()).to_bytes()
        listed = [{"id": n + 1, "name": CANARY if n < count else "x"} for n in range(2)]
        files = {"x.nii": bare, "x.json": json.dumps({"labels": listed}).encode()}
        yield Seed("nifti", f"{AS_LABELS}: {count} in a sidecar", files, "x.nii", "read_labels")


def _archives() -> Iterator[Seed]:
    whole = {f"IM{n}.dcm": to_bytes(made_slice(n)) for n in range(SLICES)}
    broken = {**whole, "IM1.dcm": whole["IM1.dcm"][:-100]}
    for name, files in (("whole", whole), ("broken", broken)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.comment = CANARY.encode()
            for inner, content in files.items():
                archive.writestr(f"{FAMILY}/{GIVEN}/{inner}", content)
        yield Seed("dicom", f"zip of folders that bear the name, {name}", {"x.zip": out.getvalue()}, "x.zip")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for inner, content in broken.items():
            archive.writestr(f"{FAMILY}-{inner}", content)
        archive.writestr(f"../{CANARY}.dcm", broken["IM1.dcm"])
    yield Seed("dicom", "zip that leads out of itself", {"x.zip": out.getvalue()}, "x.zip")
    for name, files in (("whole", whole), ("broken", broken)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for inner, content in files.items():
                archive.writestr(f"{FAMILY}-{inner}", content)
        yield Seed("dicom", f"zip of members that bear the name, {name}", {"x.zip": out.getvalue()}, "x.zip")


def _nifti() -> Iterator[Seed]:
    image = nibabel.Nifti1Image(voxels(), oblique_affine())
    plain = image.to_bytes()
    layout = nibabel.Nifti1Header.template_dtype
    for name in layout.names:
        at, size = layout.fields[name][1], layout[name].itemsize
        text = (CANARY.encode() * 10)[: max(size, 4)]
        torn = plain[:at] + text + plain[at + len(text) :]
        kind = "text" if layout[name].kind == "S" else AS_NUMBERS
        yield Seed("nifti", f"{name} is {kind}", {"x.nii": torn}, "x.nii")
    texts = {
        "no JSON": CANARY.encode(),
        "an id that is a name": json.dumps({"medseg_labels": [{"id": CANARY, "name": "liver"}]}).encode(),
        "a colour that is a name": json.dumps(
            {
                "medseg_labels": [{"id": 1, "name": "x", "colour": CANARY, "snomed": CANARY}],
                "background": CANARY,
            }
        ).encode(),
        "JSON with the name behind it": b'{"medseg_labels": [' + CANARY.encode(),
    }
    for name, text in texts.items():
        labelled = nibabel.Nifti1Image(voxels("u1") % 4, oblique_affine())
        labelled.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text))
        yield Seed("nifti", f"extension of {name}", {"x.nii": labelled.to_bytes()}, "x.nii", "read_labels")
        bare = nibabel.Nifti1Image(voxels("u1") % 4, oblique_affine()).to_bytes()
        side = text.replace(b"medseg_labels", b"labels")
        yield Seed("nifti", f"sidecar of {name}", {"x.nii": bare, "x.json": side}, "x.nii", "read_labels")
    beside = json.dumps({"labels": {CANARY: "liver", "1": 3}}).encode()
    yield Seed(
        "nifti", "sidecar with the name as id", {"x.nii": bare, "x.json": beside}, "x.nii", "read_labels"
    )


def _text_headers() -> Iterator[Seed]:
    image = sitk.GetImageFromArray(voxels().T)
    image.SetMetaData("Segment0_LabelValue", "1")
    for ending, end in ((".nrrd", b"\n\n"), (".mha", b"LOCAL\n")):
        content = _written(image, ending)
        at = content.index(end) + len(end)
        lines = content[:at].decode().removesuffix("\n").split("\n")
        for number, line in enumerate(lines[:-1]):  # what follows the last line is voxels
            sign = ":" if ending == ".nrrd" else "="
            key = line.partition(sign)[0].strip()
            versions = {
                "is the name": f"{key}{sign} {CANARY}",
                "has the name in it": line.replace("1", FAMILY, 1),
                "is followed by the name": f"{line}\n{CANARY}\n# {CANARY}\n{CANARY}{sign}={CANARY}",
                "is a key of the name": f"{CANARY}{sign} 1",
            }
            for what, version in versions.items():
                changed = "\n".join([*lines[:number], version, *lines[number + 1 :]]) + "\n"
                name = f"x{ending}"
                files = {name: changed.encode() + content[at:]}
                yield Seed(ending[1:], f"line {number} {key[:20]} {what} {ending}", files, name)
        detached = {".nrrd": f"data file: {CANARY}", ".mha": f"ElementDataFile = {CANARY}"}[ending]
        changed = "\n".join([*lines[:-1], detached, ""])
        yield Seed(
            ending[1:], f"data file of the name {ending}", {f"x{ending}": changed.encode()}, f"x{ending}"
        )
    labels = voxels("u1").T % 3
    for key in ("LabelValue", "Color", "Layer", "Extent", "Tags", "ID"):
        image = sitk.GetImageFromArray(labels)
        for name, value in {"Name": "liver", "LabelValue": "1", "Layer": "0", "Color": "1 0 0"}.items():
            image.SetMetaData(f"Segment0_{name}", value)
        image.SetMetaData(f"Segment0_{key}", CANARY)
        files = {"x.seg.nrrd": _written(image, ".nrrd")}
        yield Seed("nrrd", f"segment's {key}", files, "x.seg.nrrd", "read_labels")


def _written(image: sitk.Image, ending: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        sitk.WriteImage(image, path)
        return path.read_bytes()


def _pictures() -> Iterator[Seed]:
    grey = voxels("u1", (9, 13))
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    whole = out.getvalue()
    named = (FAMILY[:4].encode(), b"zTXt", b"iTXt", b"eXIf", b"pHYs", b"iCCP", b"IHDR")
    for kind in (b"tEXt", *named):
        body = CANARY.encode() if kind in named else b"Comment\0" + CANARY.encode()
        chunk = struct.pack(">I", len(body)) + kind + body
        for check, what in ((zlib.crc32(kind + body), "right"), (7, "wrong")):
            content = whole[:33] + chunk + struct.pack(">I", check) + whole[33:]
            yield Seed("png", f"chunk {kind!r}, checksum {what}", {"x.png": content}, "x.png")
    descriptions = (
        CANARY,
        f'{{"shape": ["{CANARY}"]}}',
        f"ImageJ=1.11a\nunit={CANARY}\nspacing={CANARY}\n",
        f'<?xml version="1.0"?><OME><Image Name="{CANARY}"',
    )
    for description in descriptions:
        out = io.BytesIO()
        more = {"software": CANARY, "extratags": [(315, 2, None, CANARY, True)]}
        tifffile.imwrite(out, grey, description=description, metadata=None, **more)
        content = out.getvalue()
        yield Seed("tiff", f"described as {description[:12]!r}", {"x.tif": content}, "x.tif")
        yield Seed("tiff", f"described as {description[:12]!r}, cut", {"x.tif": content[:-9]}, "x.tif")
        torn = content.replace(b"\x0e\x01\x02\0", b"\x0e\x01\x0c\0", 1)
        yield Seed("tiff", f"described as {description[:12]!r}, as numbers", {"x.tif": torn}, "x.tif")
        torn = content.replace(b"\x06\x01\x03\0", b"\x06\x01\x02\0", 1)
        yield Seed("tiff", f"described as {description[:12]!r}, colours as text", {"x.tif": torn}, "x.tif")
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", comment=CANARY.encode())
    content = out.getvalue()
    yield Seed("jpeg", "comment", {"x.jpg": content}, "x.jpg")
    yield Seed("jpeg", "cut", {"x.jpg": content[:-40]}, "x.jpg")
    yield Seed("jpeg", "bare name", {"x.jpg": content[:2] + CANARY.encode()}, "x.jpg")
