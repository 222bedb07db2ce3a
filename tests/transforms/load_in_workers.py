"""A program: load cases (JSON, the argument) through a DataLoader whose worker is spawned; save the batch.

Apart from the tests, as a spawned worker imports the main program again, and as torch's handlers of signals
have no place in a process that has had windows open.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from medseg.transforms import LoadVolumed


def main() -> None:
    cases, target = json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2])
    (batch,) = list(
        DataLoader(
            Dataset(cases, Compose([LoadVolumed("image", label_keys="label")])),
            batch_size=len(cases),
            num_workers=1,
            multiprocessing_context=multiprocessing.get_context("spawn"),
        )
    )
    torch.save(
        {
            "image": batch["image"].as_tensor(),
            "label": batch["label"].as_tensor(),
            "affine": batch["image"].affine,
            "verdicts": list(batch["image"].meta["verdict"]),
        },
        target,
    )


if __name__ == "__main__":
    main()
