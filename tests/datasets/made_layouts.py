"""Small copies of foreign layouts, as their documentation describes them. Oblique, anisotropic, not cubic."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

SHAPE = (9, 7, 5)


def affine(shift: float = 0.0) -> np.ndarray:
    """Turned by 20 degrees about S, voxels of 0.7 x 1.1 x 2.5 mm, left-handed."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    matrix = np.diag([-0.7, 1.1, 2.5, 1.0])
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ matrix[:3, :3]
    matrix[:3, 3] = (3 + shift, -20, 11)
    return matrix


def image(seed: int, *more: int) -> np.ndarray:
    """Whole numbers that tell every voxel of every image from the next."""
    return np.random.default_rng(seed).integers(0, 30000, (*SHAPE, *more)).astype(np.int16)


def labels(seed: int, ids: tuple[int, ...] = (1, 3)) -> np.ndarray:
    """A block of each id, from slice ``seed % 2`` on."""
    data = np.zeros(SHAPE, np.uint8)
    for n, label_id in enumerate(ids):
        data[2 + n, 1:5, seed % 2 : 4] = label_id
    return data


def save(path: Path, data: np.ndarray, matrix: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine() if matrix is None else matrix), path)
    return path


def decathlon_4d(folder: Path) -> Path:
    """Task01_BrainTumour: modalities along the fourth axis of one file (medicaldecathlon.com)."""
    entries = []
    for n in (1, 2):
        save(folder / f"imagesTr/BRATS_{n:03d}.nii.gz", image(n, 2))
        save(folder / f"labelsTr/BRATS_{n:03d}.nii.gz", labels(n))
        entries.append({k: f"./{k}sTr/BRATS_{n:03d}.nii.gz" for k in ("image", "label")})
    facts = {
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "background", "1": "edema", "3": "enhancing tumor"},
        "training": entries,
    }
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def nnunet_v1(folder: Path) -> Path:
    """TaskXXX of nnU-Net v1: dataset.json names images without the channel's number that the files end in."""
    entries = []
    for n in (1, 2):
        for channel in (0, 1):
            save(folder / f"imagesTr/la_{n:03d}_{channel:04d}.nii.gz", image(10 * n + channel))
        save(folder / f"labelsTr/la_{n:03d}.nii.gz", labels(n))
        entries.append({k: f"./{k}sTr/la_{n:03d}.nii.gz" for k in ("image", "label")})
    facts = {"modality": {"0": "T1", "1": "T2"}, "labels": {"1": "a", "3": "b"}, "training": entries}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def bids(folder: Path) -> Path:
    """Subjects with two contrasts; dseg files in a derivative, with their table (BIDS 1.10)."""
    (folder / "derivatives" / "manual").mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.10.0"}')
    (folder / "derivatives/manual/dseg.tsv").write_text("index\tname\n1\tcord\n3\tlesion\n")
    for n, name in enumerate(("sub-01", "sub-02_ses-b"), start=1):
        place = "/".join(name.split("_")) + "/anat"
        for contrast in ("T1w", "T2w"):
            save(folder / f"{place}/{name}_{contrast}.nii.gz", image(n + len(contrast)))
        save(folder / f"derivatives/manual/{place}/{name}_desc-manual_dseg.nii.gz", labels(n))
    save(folder / "sub-03/anat/sub-03_T2w.nii.gz", image(9))
    return folder


def picture(path: Path, data: np.ndarray, palette: bool = False) -> Path:
    """Rows first, as pictures are. With a palette, values are indices of colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(data)
    if palette:
        made.putpalette([(37 * n) % 256 for n in range(768)])
    made.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def voc(folder: Path) -> tuple[Path, np.ndarray]:
    """VOCdevkit/VOC2012: JPEG pictures, palette PNGs with 255 for void, lists; and the labels, rows first."""
    year = folder / "VOC2012"
    truth = np.zeros((6, 8), np.uint8)
    truth[1:4, 2:5], truth[1, 2:5] = 15, 255
    for name in ("2007_000032", "2007_000033"):
        rgb = np.random.default_rng(len(name)).integers(0, 255, (6, 8, 3), np.uint8)
        picture(year / f"JPEGImages/{name}.jpg", rgb)
        picture(year / f"SegmentationClass/{name}.png", truth, palette=True)
    picture(year / "JPEGImages/2007_000099.jpg", np.zeros((6, 8, 3), np.uint8))  # no segmentation: usual
    lists = year / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("2007_000032\n2007_000033\n")
    return folder, truth


def cityscapes(folder: Path) -> tuple[Path, np.ndarray]:
    """leftImg8bit and gtFine, split by city, with labelIds and labelTrainIds; the training ids."""
    train_ids = np.full((4, 8), 255, np.uint8)
    train_ids[1:, :4], train_ids[1:, 4:] = 0, 13
    ids = np.select([train_ids == 0, train_ids == 13], [7, 26], 1).astype(np.uint8)
    for split, city in (("train", "aachen"), ("val", "lindau"), ("test", "berlin")):
        name = f"{city}_000000_000019"
        rgb = np.random.default_rng(len(city)).integers(0, 255, (4, 8, 3), np.uint8)
        picture(folder / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", rgb)
        picture(folder / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png", ids)
        picture(folder / f"gtFine/{split}/{city}/{name}_gtFine_labelTrainIds.png", train_ids)
    return folder, train_ids


def s3dis(folder: Path, seed: int = 0) -> tuple[Path, np.ndarray]:
    """Area_1/office_1 with a file of points per object; and the points: x y z red green blue class."""
    room = folder / "Area_1" / "office_1"
    (room / "Annotations").mkdir(parents=True)
    random = np.random.default_rng(seed)
    rows = []
    for name, label_id in (("floor_1", 2), ("chair_1", 9), ("chair_2", 9), ("stairs_1", 13)):
        points = random.uniform((-1.13, 2.0, 0.0), (-0.6, 2.4, 0.31), (200, 3)).round(3)
        colours = random.integers(0, 256, (200, 3))
        lines = [
            f"{x:.3f} {y:.3f} {z:.3f} {r} {g} {b}"
            for (x, y, z), (r, g, b) in zip(points, colours, strict=True)
        ]
        (room / f"Annotations/{name}.txt").write_text("\n".join(lines) + "\n")
        rows.append(np.column_stack([points, colours, np.full(200, label_id)]))
    whole = np.concatenate(rows)
    np.savetxt(room / "office_1.txt", whole[:, :6], fmt=["%.3f"] * 3 + ["%d"] * 3)
    return folder, whole


def nyu_depth(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """nyu_depth_v2_labeled.mat as MATLAB 7.3 writes it: HDF5 behind 512 bytes, axes in reverse, names as
    references to text in UTF-16. Returns images, depths and labels: picture, row, column."""
    import h5py

    random = np.random.default_rng(3)
    images = random.integers(0, 256, (2, 6, 8, 3), np.uint8)
    depths = random.uniform(0.7, 9.9, (2, 6, 8)).astype(np.float32)
    ids = random.integers(0, 3, (2, 6, 8)).astype(np.uint16)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = images.transpose(0, 3, 2, 1)
        file["depths"] = depths.transpose(0, 2, 1)
        file["labels"] = ids.transpose(0, 2, 1)
        references = []
        for n, name in enumerate(("book", "bottle")):
            text = np.array([[ord(letter)] for letter in name], np.uint16)
            references.append(file.create_dataset(f"#refs#/{n}", data=text).ref)
        names = file.create_dataset("names", (1, 2), dtype=h5py.ref_dtype)
        names[0, 0], names[0, 1] = references
    return images, depths, ids
