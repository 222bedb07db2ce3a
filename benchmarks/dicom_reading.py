"""How long a CT series takes to read, beside the readers it is compared with, in one run.

    python benchmarks/dicom_reading.py [--slices 500] [--repeats 5]

Makes two folders of 512 x 512 slices, raw (explicit little endian) and JPEG 2000 lossless, and reads each
from folder to array: `medseg.read`, SimpleITK's ImageSeriesReader with GDCM's file names, MONAI's LoadImage
with PydicomReader; and dcm2niix, which also writes a NIfTI file. In rounds of one of each, so that a busy
computer slows all alike; the first round, which fills the file cache and starts decoding processes, is not
counted. What has a process of its own (dcm2niix, and medseg once more as "new process") is timed from its
start to its end. Printed: medians. The voxels of medseg and SimpleITK are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

import medseg

SIZE = 512
# So many slices are made, and repeated: encoding takes longer than all the reading.
DIFFERENT = 20


def ct_slice(number: int) -> NDArray[np.uint16]:
    """A body with bones and lungs, blurred, and the noise of a CT; Hounsfield units plus 1024."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    grey = np.full((SIZE, SIZE), 24.0)
    for left, top, wide, high, value in (
        (0, 0, 0.8, 0.6, 1064), (-0.35, -0.05, 0.28, 0.38, 180), (0.35, -0.05, 0.28, 0.38, 180),
        (0, 0.4, 0.1, 0.1, 1800), (0.05, -0.2, 0.14 + number / 200, 0.12, 1100),
    ):  # fmt: skip
        edge = ((x - left) / wide) ** 2 + ((y - top) / high) ** 2
        grey += (value - grey) / (1 + np.exp(np.minimum(edge - 1, 1) * 60))
    noise = np.random.default_rng(number).normal(0, 12, grey.shape)
    noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 1.7  # a kernel's, not white
    return np.clip(np.rint(grey + noise), 0, 4095).astype(np.uint16)


def make_series(folder: Path, syntax: str, slices: int) -> None:
    """Write a series in one transfer syntax."""
    folder.mkdir()
    series = generate_uid()
    kinds: list[bytes] = []
    for k in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item = Dataset()
        item.file_meta = meta
        item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        item.Modality, item.SeriesInstanceUID, item.StudyInstanceUID = "CT", series, "1.2.3"
        item.FrameOfReferenceUID, item.InstanceNumber, item.SeriesNumber = "1.2.4", k + 1, 1
        item.StudyDate, item.StudyTime, item.ImageType = (
            "20200101",
            "101010",
            ["ORIGINAL", "PRIMARY", "AXIAL"],
        )
        item.ImagePositionPatient, item.ImageOrientationPatient = [-180, -170, 0.75 * k], [1, 0, 0, 0, 1, 0]
        item.PixelSpacing, item.SliceThickness = [0.7, 0.7], 0.75
        item.Rows, item.Columns, item.SamplesPerPixel = SIZE, SIZE, 1
        item.PhotometricInterpretation, item.PixelRepresentation = "MONOCHROME2", 0
        item.BitsAllocated, item.BitsStored, item.HighBit = 16, 12, 11
        item.RescaleSlope, item.RescaleIntercept = 1, -1024
        if k < DIFFERENT:
            item.PixelData = ct_slice(k).tobytes()
            if syntax == JPEG2000Lossless:
                item.compress(JPEG2000Lossless, generate_instance_uid=False)
            kinds.append(item.PixelData)
        item.PixelData = kinds[k % DIFFERENT]
        item["PixelData"].VR = "OW" if syntax == ExplicitVRLittleEndian else "OB"
        item["PixelData"].is_undefined_length = syntax != ExplicitVRLittleEndian
        meta.TransferSyntaxUID = syntax
        item.save_as(folder / f"IM{k:04d}.dcm", enforce_file_format=True)


def by_medseg(folder: Path) -> NDArray[np.generic]:
    """(column, row, slice)."""
    return medseg.read(folder).data[0]


def by_simpleitk(folder: Path) -> NDArray[np.generic]:
    """(slice, row, column)."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())


def by_monai(folder: Path) -> NDArray[np.generic]:
    """(column, row, slice)."""
    from monai.data import PydicomReader
    from monai.transforms import LoadImage

    return LoadImage(reader=PydicomReader(), image_only=True)(str(folder)).numpy()


def by_dcm2niix(folder: Path) -> None:
    """Into a NIfTI file, uncompressed."""
    with tempfile.TemporaryDirectory() as out:
        command = ["dcm2niix", "-z", "n", "-f", "scan", "-o", out, str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        if not (Path(out) / "scan.nii").is_file():
            raise SystemExit("dcm2niix wrote no scan.nii")


def by_new_process(folder: Path) -> None:
    """`medseg.read`, from the start of Python to its end."""
    code = "import sys, medseg; medseg.read(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


READERS: dict[str, Callable[[Path], object]] = {
    "medseg.read": by_medseg,
    "SimpleITK": by_simpleitk,
    "MONAI PydicomReader": by_monai,
    "medseg, new process": by_new_process,
    "dcm2niix": by_dcm2niix,
}


def measure(folder: Path, names: list[str], repeats: int) -> dict[str, float]:
    """Median seconds of every reader."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(repeats + 1):
        for name in names:
            start = time.perf_counter()
            READERS[name](folder)
            wall = time.perf_counter() - start
            if number:
                taken[name].append(wall)
    return {name: statistics.median(walls) for name, walls in taken.items()}


def main() -> None:
    """Run the comparison and print it; the last line is one JSON document."""
    parser = argparse.ArgumentParser(description="Reading of DICOM series.")
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [name for name in READERS if name != "dcm2niix" or shutil.which("dcm2niix")]
    medians = {}
    with tempfile.TemporaryDirectory() as temporary:
        for kind, syntax in (("raw", ExplicitVRLittleEndian), ("JPEG 2000", JPEG2000Lossless)):
            folder = Path(temporary) / kind
            make_series(folder, syntax, arguments.slices)
            if not np.array_equal(by_medseg(folder), by_simpleitk(folder).T):
                raise SystemExit("medseg and SimpleITK read different voxels")
            medians[kind] = measure(folder, names, arguments.repeats)
    print(f"{arguments.slices} slices of {SIZE} x {SIZE}, seconds, median of {arguments.repeats}")
    print(f"{'':<22}" + "".join(f"{kind:>12}" for kind in medians))
    for name in names:
        print(f"{name:<22}" + "".join(f"{times[name]:>12.2f}" for times in medians.values()))
    print(json.dumps({"slices": arguments.slices, "repeats": arguments.repeats, "median_s": medians}))


if __name__ == "__main__":
    main()
