"""What every experiment is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference_speed import child
from inference_speed.networks import Net


@dataclass(frozen=True)
class Settings:
    """``work`` keeps bundles, scans and label files; ``out`` takes the JSON; ``nnunet`` is its Python."""

    work: Path
    out: Path
    nnunet: Path | None
    data: Path
    quick: bool = False

    def prepared(
        self, nets: Sequence[Net], shapes: Sequence[tuple[int, int, int]]
    ) -> tuple[list[str], list[str]]:
        """Bundles of networks and files of scans, made in another process where they are not there yet."""
        made = child.run(
            "ours",
            "prepare_files",
            root=str(self.work),
            nets=[asdict(net) for net in nets],
            scans=[(shape, 0) for shape in shapes],
        )
        return made["bundles"], made["scans"]

    def nnunet_folder(self, bundle: str) -> str | None:
        """A trained-model folder of nnU-Net with a bundle's weights; None, and why, without nnU-Net."""
        if self.nnunet is None or not self.nnunet.is_file():
            where = "not given" if self.nnunet is None else f"{self.nnunet} is not there"
            print(f"nnU-Net is left out: --nnunet-python {where}; `inference.py --help` says how to make it")
            return None
        folder, weights = self.work / "nnunet" / Path(bundle).name, self.work / "weights.npz"
        described = child.run("ours", "for_nnunet", bundle=bundle, weights=str(weights))
        self.nnunet_run("make_folder", folder=str(folder), weights=str(weights), network=described["network"])
        return str(folder)

    def nnunet_run(self, task: str, **arguments: Any) -> dict[str, Any]:
        """One task of `with_nnunet` in nnU-Net's own environment."""
        assert self.nnunet is not None
        return child.run_script(self.nnunet, "with_nnunet.py", task, **arguments)

    def label_file(self, name: str) -> str:
        """Where a run writes its labels."""
        folder = self.work / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder / f"{name}.nii.gz")
