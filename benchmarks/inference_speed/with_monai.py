"""A measured run of MONAI: its sliding window, then logits to the scan's grid, argmax, and a file."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from inference_speed.child import answer
from inference_speed.timed import Timed


def case(
    bundle: str, scan: str, out: str, backend: str = "torch", precision: str = "f32", overlap: float = 0.5
) -> dict[str, Any]:
    """One scan, file in to label file out, with the network run by one of medseg's backends.

    On a coarser grid MONAI's own way back is to resample every logit of the scan, then argmax.
    """
    import nibabel
    import numpy as np
    import torch
    from monai.inferers import sliding_window_inference

    from medseg import read
    from medseg.inference import open_backend
    from medseg.models import load_model
    from medseg.preprocess import prepare

    model = load_model(bundle)
    network = Timed(open_backend(model, backend=backend, device="cpu", precision=precision))
    start = perf_counter()
    volume = read(scan)
    # medseg's preparation: it is the same for all tools, and not what is compared.
    data = torch.from_numpy(prepare(volume, model.plan).data)[None]

    def predictor(windows: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(network(windows.numpy()))

    with torch.inference_mode():
        logits = sliding_window_inference(
            data, model.plan.patch, 1, predictor, overlap=overlap, mode="gaussian"
        )
        shape = volume.geometry.shape
        if logits.shape[2:] != shape:
            logits = torch.nn.functional.interpolate(
                logits, size=shape, mode="trilinear", align_corners=False
            )
        labels = np.array(model.plan.class_ids, np.uint16)[logits.argmax(1)[0].numpy()]
    kind = np.uint8 if max(model.plan.class_ids) < 256 else np.uint16
    nibabel.save(nibabel.Nifti1Image(labels.astype(kind), volume.geometry.affine), out)
    end = perf_counter()
    return {
        "total_s": end - start,
        "forward_s": network.seconds,
        "windows": network.windows,
        "after_last_window_s": end - network.last_end,
        "outside_network_s": end - start - network.seconds,
    }


if __name__ == "__main__":
    answer({"case": case})
