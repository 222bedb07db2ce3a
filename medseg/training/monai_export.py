"""export_monai: a bundle as a full MONAI Bundle, which runs where medseg is not installed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch

from medseg.models import ModelBundle
from medseg.models.folders import whole_folder, write_synced
from medseg.models.manifest import CARD, LICENCE, METADATA
from medseg.networks import build_network, load_tensors
from medseg.training.monai_config import inference_config, pictures

INFERENCE = "configs/inference.json"
CHECKPOINT = "models/model.pt"


def export_monai(bundle: ModelBundle, out: Path | str) -> Path:
    """Write a MONAI Bundle that ``python -m monai.bundle run`` runs without medseg.

    ``models/model.pt`` is a plain state dict of MONAI's own network, float32;
    ``configs/inference.json`` does what `medseg.infer` does, from file to file.

    Parameters
    ----------
    bundle
        From `medseg.load_model`.
    out
        The folder to write. An earlier export there is replaced, anything else refused.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UsageError
        If the network is not one of MONAI's, or ``out`` holds something else.
    """
    out = Path(out)
    config = inference_config(bundle.plan)
    with whole_folder(out, marker=INFERENCE) as part:
        write_synced(part / CHECKPOINT, _state_dict(bundle))
        write_synced(part / INFERENCE, json.dumps(config, indent=2).encode("utf-8"))
        write_synced(part / METADATA, bundle.text(METADATA).encode("utf-8"))
        write_synced(part / LICENCE, bundle.text(LICENCE).encode("utf-8"))
        write_synced(part / CARD, (bundle.text(CARD) + _how_to_run(bundle)).encode("utf-8"))
    return out


def _state_dict(bundle: ModelBundle) -> bytes:
    network = build_network(bundle.plan)
    load_tensors(network, {k: v.astype(np.float32) for k, v in bundle.weights().items()})
    stream = io.BytesIO()
    state = network.state_dict()
    if bundle.plan.network.name != "unet":  # DynUNet has these heads itself
        state = {name: one for name, one in state.items() if not name.startswith("deep_supervision_heads.")}
    torch.save(state, stream)
    return stream.getvalue()


def _how_to_run(bundle: ModelBundle) -> str:
    ending = "PNG" if pictures(bundle.plan) else "NIfTI (`.nii.gz`)"
    without = " medseg's post-processing is not done." if bundle.plan.inference.steps else ""
    return f"""
## Running this MONAI Bundle

Needs MONAI, torch and nibabel (pictures: Pillow); not medseg. Put {ending} files into a folder and run
inside the bundle:

    python -m monai.bundle run --config_file configs/inference.json \\
        --dataset_dir /path/to/scans --output_dir /path/to/results

Each result, `<name>_seg`, is on its scan's own grid, with the label ids of the table above.{without}
"""
