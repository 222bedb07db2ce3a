"""Seeds of NIfTI, MGH (nibabel), NRRD and MetaImage (SimpleITK)."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from tests.acceptance.files.canary import CANARY
from tests.acceptance.files.seeds import Seed, gathered, lone, oblique_affine, real_data, voxels

_MM = 2


def _nifti_image(data: Any, version: int = 1, endian: str = "<", **fields: Any) -> Any:
    """A NIfTI image with the patient in every text field and an extension."""
    kind = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(data.dtype)
    image = kind(data, oblique_affine(), header)
    header = image.header
    header["descrip"] = header["aux_file"] = CANARY.encode()
    header["intent_name"] = CANARY[:15].encode()
    header["xyzt_units"] = _MM
    if version == 1:
        header["db_name"] = CANARY.encode()
    for name, value in fields.items():
        header[name] = value
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
    return image


def nifti(folder: Path) -> Iterator[Seed]:
    """NIfTI-1 and 2, both byte orders, compressed, pairs, 4D, colours, scaled, Analyze."""
    for version in (1, 2):
        for endian in "<>":
            path = folder / f"v{version}{'le' if endian == '<' else 'be'}.nii"
            nibabel.save(_nifti_image(voxels(), version, endian), path)
            yield lone("nifti", path)
    for dtype in ("u1", "i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
        nibabel.save(_nifti_image(voxels(dtype)), folder / f"{dtype}.nii.gz")
        yield lone("nifti", folder / f"{dtype}.nii.gz")
    scaled = _nifti_image(voxels())
    scaled.header.set_slope_inter(0.37, -12.5)
    nibabel.save(scaled, folder / "scaled.nii")
    yield lone("nifti", folder / "scaled.nii")
    nibabel.save(_nifti_image(voxels("i2", (5, 7, 4, 3))), folder / "time.nii.gz")
    yield lone("nifti", folder / "time.nii.gz", options={"series": 2})
    colours = voxels("u1", (5, 7, 4, 3)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(_nifti_image(colours), folder / "rgb.nii")
    yield lone("nifti", folder / "rgb.nii")
    nibabel.save(_nifti_image(voxels("u1") % 4), folder / "labels.nii.gz")
    yield lone("nifti", folder / "labels.nii.gz", verb="read_labels")
    nibabel.save(_nifti_image(voxels(), qform_code=1, sform_code=0), folder / "qform.nii")
    yield lone("nifti", folder / "qform.nii")
    (folder / "pair").mkdir()
    pair = nibabel.Nifti1Pair(voxels(), oblique_affine())
    nibabel.save(pair, folder / "pair" / "p.img")
    yield gathered("nifti", "pair", folder / "pair", "p.hdr")
    (folder / "analyze").mkdir()
    nibabel.save(nibabel.AnalyzeImage(voxels(), np.diag([-0.7, 1.1, 2.3, 1])), folder / "analyze" / "a.img")
    yield gathered("nifti", "analyze", folder / "analyze", "a.img")
    data = real_data()
    if data is not None:
        yield lone("nifti", data / "nifti" / "nibabel" / "anatomical.nii")
        two = data / "nifti" / "nibabel" / "example_nifti2.nii.gz"
        yield lone("nifti", two, options={"series": 2})


def mgh(folder: Path) -> Iterator[Seed]:
    """MGH and MGZ of each type."""
    for dtype in ("u1", "i2", "i4", "f4"):
        for ending in (".mgh", ".mgz"):
            path = folder / f"{dtype}{ending}"
            nibabel.save(nibabel.MGHImage(voxels(dtype), oblique_affine()), path)
            yield lone("mgh", path)


def _itk_image(data: Any, *, vector: bool = False) -> Any:
    """A SimpleITK image on the oblique grid, or a flat one, with the patient in its dictionary."""
    image = sitk.GetImageFromArray(data, isVector=vector)
    if image.GetDimension() == 3:
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ oblique_affine()
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(steps.tolist())
        image.SetDirection((affine[:3, :3] / steps).ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
    image.SetMetaData("Patient", CANARY)
    image.SetMetaData(CANARY.replace("^", ""), "1")
    return image


def nrrd(folder: Path) -> Iterator[Seed]:
    """NRRD raw, gzip and as text, detached, both byte orders, segmentations of 3D Slicer."""
    for dtype in ("i2", "u1", "u2", "f4", "f8", "i4"):
        for packed in (False, True):
            path = folder / f"{dtype}{'gz' if packed else 'raw'}.nrrd"
            sitk.WriteImage(_itk_image(voxels(dtype).T), path, useCompression=packed)
            yield lone("nrrd", path)
    sitk.WriteImage(_itk_image(voxels("u1", (7, 5))), folder / "flat.nrrd")
    yield lone("nrrd", folder / "flat.nrrd")
    sitk.WriteImage(_itk_image(voxels("u1", (4, 7, 5, 3)), vector=True), folder / "vector.nrrd")
    yield lone("nrrd", folder / "vector.nrrd")
    header, _, _ = (folder / "i2raw.nrrd").read_bytes().partition(b"\n\n")
    swapped = header.replace(b"endian: little", b"endian: big")
    path = folder / "big.nrrd"
    path.write_bytes(swapped + b"\n\n" + voxels().astype(">i2").tobytes(order="F"))
    yield lone("nrrd", path)
    text = header.replace(b"encoding: raw", b"encoding: ascii").replace(b"endian: little\n", b"")
    path = folder / "text.nrrd"
    path.write_bytes(text + b"\n\n" + " ".join(map(str, voxels().ravel(order="F"))).encode() + b"\n")
    yield lone("nrrd", path)
    for name, encoding in (("detached", b"raw"), ("detached_gz", b"gzip")):
        (folder / name).mkdir()
        body = voxels().tobytes(order="F")
        apart = header.replace(b"encoding: raw", b"encoding: " + encoding) + b"\ndata file: d.raw\n"
        (folder / name / "d.nhdr").write_bytes(apart)
        (folder / name / "d.raw").write_bytes(gzip.compress(body) if encoding == b"gzip" else body)
        yield gathered("nrrd", name, folder / name, "d.nhdr")
    yield _segments(folder / "s.seg.nrrd")


def _segments(path: Path) -> Seed:
    image = _itk_image(voxels("u1").T % 3)
    for number, name in enumerate(("liver", "spleen")):
        for key, value in {
            "ID": f"Segment_{number + 1}", "Name": name, "LabelValue": str(number + 1), "Layer": "0",
            "Color": "0.5 0.25 1", "Extent": "0 4 0 6 0 3", "Tags": f"Segmentation.Status:{CANARY}|",
        }.items():  # fmt: skip
            image.SetMetaData(f"Segment{number}_{key}", value)
    sitk.WriteImage(image, path, useCompression=True)
    return lone("nrrd", path, verb="read_labels")


def metaimage(folder: Path) -> Iterator[Seed]:
    """MetaImage raw and zlib, in one file and detached, flat and in colours."""
    for dtype in ("i2", "u1", "u2", "f4", "f8", "i4"):
        for packed in (False, True):
            path = folder / f"{dtype}{'z' if packed else 'raw'}.mha"
            sitk.WriteImage(_itk_image(voxels(dtype).T), path, useCompression=packed)
            yield lone("metaimage", path)
    sitk.WriteImage(_itk_image(voxels("u1", (7, 5))), folder / "flat.mha")
    yield lone("metaimage", folder / "flat.mha")
    sitk.WriteImage(_itk_image(voxels("u1", (4, 7, 5, 3)), vector=True), folder / "rgb.mha")
    yield lone("metaimage", folder / "rgb.mha")
    raw = (folder / "i2raw.mha").read_bytes()
    path = folder / "comment.mha"
    path.write_bytes(raw.replace(b"NDims", b"Comment = " + CANARY.encode() + b"\nNDims", 1))
    yield lone("metaimage", path)
    for name, packed in (("detached", False), ("detached_z", True)):
        (folder / name).mkdir()
        sitk.WriteImage(_itk_image(voxels().T), folder / name / "m.mhd", useCompression=packed)
        yield gathered("metaimage", name, folder / name, "m.mhd")
