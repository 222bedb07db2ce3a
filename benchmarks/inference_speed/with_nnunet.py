"""nnU-Net's predictor, run by the Python of its own environment; imports nothing of medseg.

medseg's U-Net is nnU-Net's PlainConvUNet layer by layer, so that the weights are copied across, and nnU-Net
loads them from a trained-model folder of its own kind.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch


def make_folder(folder: str, weights: str, network: dict[str, Any]) -> dict[str, Any]:
    """A trained-model folder with the weights of a medseg bundle.

    ``network``: features, strides, patch, labels (name to id, background first), spacing_mm, channel.
    """
    path = Path(folder)
    (path / "fold_0").mkdir(parents=True, exist_ok=True)
    (path / "plans.json").write_text(json.dumps(_plans(network)))
    (path / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": network["channel"]},
                "labels": network["labels"],
                "numTraining": 1,
                "file_ending": ".nii.gz",
                "overwrite_image_reader_writer": "NibabelIOWithReorient",
            }
        )
    )
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(_plans(network))
    module = nnUNetTrainer.build_network_architecture(
        plans, plans.get_configuration("3d_fullres"), 1, len(network["labels"]), enable_deep_supervision=False
    )
    _copy_weights(module, dict(np.load(weights)))
    torch.save(
        {
            "network_weights": module.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres"},
            "inference_allowed_mirroring_axes": None,
        },
        path / "fold_0" / "checkpoint_final.pth",
    )
    return {"folder": folder}


def case(folder: str, scan: str, out: str, threads: int) -> dict[str, Any]:
    """One scan, file in to label file out, in this one process, as predict_from_files_sequential does."""
    import resource

    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(threads)
    with contextlib.redirect_stdout(sys.stderr):
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(folder, (0,))
    calls = _count_calls(predictor.network)
    start = perf_counter()
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case([scan], None, plans, configuration, predictor.dataset_json)
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).numpy()
    stitched = perf_counter()
    export_prediction_from_logits(
        logits,
        properties,
        configuration,
        plans,
        predictor.dataset_json,
        out.removesuffix(".nii.gz"),
        False,
        num_threads_torch=threads,
    )
    end = perf_counter()
    return {
        "total_s": end - start,
        "forward_s": calls["seconds"],
        "windows": calls["windows"],
        "stitched_after_s": stitched - start,
        "after_last_window_s": end - calls["last_end"],
        "outside_network_s": end - start - calls["seconds"],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _count_calls(network: torch.nn.Module) -> dict[str, Any]:
    """Seconds inside a network, its windows, and when the last one ended."""
    calls = {"seconds": 0.0, "windows": 0, "start": 0.0, "last_end": 0.0}

    def before(_module: torch.nn.Module, _inputs: Any) -> None:
        calls["start"] = perf_counter()

    def after(_module: torch.nn.Module, inputs: Any, _outputs: Any) -> None:
        calls["last_end"] = perf_counter()
        calls["seconds"] += calls["last_end"] - calls["start"]
        calls["windows"] += len(inputs[0])

    network.register_forward_pre_hook(before)
    network.register_forward_hook(after)
    return calls


def _copy_weights(module: Any, weights: dict[str, np.ndarray]) -> None:
    """From MONAI's DynUNet, whose decoder counts from the bottom up as nnU-Net's does."""
    stages = len(module.encoder.stages)
    pairs: list[tuple[torch.nn.Parameter, str]] = []

    def block(convolutions: Any, prefix: str) -> None:
        for number, conv in enumerate(convolutions, start=1):
            pairs.append((conv.conv.weight, f"{prefix}.conv{number}.conv.weight"))
            pairs.append((conv.norm.weight, f"{prefix}.norm{number}.weight"))
            pairs.append((conv.norm.bias, f"{prefix}.norm{number}.bias"))

    for n in range(stages):
        name = "input_block" if n == 0 else "bottleneck" if n == stages - 1 else f"downsamples.{n - 1}"
        block(module.encoder.stages[n][0].convs, name)
    for n in range(stages - 1):
        pairs.append((module.decoder.transpconvs[n].weight, f"upsamples.{n}.transp_conv.conv.weight"))
        block(module.decoder.stages[n].convs, f"upsamples.{n}.conv_block")
    pairs.append((module.decoder.seg_layers[-1].weight, "output_block.conv.conv.weight"))
    pairs.append((module.decoder.seg_layers[-1].bias, "output_block.conv.conv.bias"))
    with torch.no_grad():
        for parameter, name in pairs:
            value = torch.from_numpy(weights.pop(name).astype(np.float32))
            assert parameter.shape == value.shape, name
            parameter.copy_(value)
    left = [name for name in weights if not name.startswith("deep_supervision_heads")]
    if left:
        raise RuntimeError(f"weights without a place in nnU-Net's network: {left[:5]}")


def _plans(network: dict[str, Any]) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    stages = len(network["features"])
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": network["patch"],
        "median_image_size_in_voxels": network["patch"],
        "spacing": network["spacing_mm"],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling,
        "batch_dice": True,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": network["features"],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": network["strides"],
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": False,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": "Dataset001_Benchmark",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": network["spacing_mm"],
        "original_median_shape_after_transp": network["patch"],
        "image_reader_writer": "NibabelIOWithReorient",
        # nnU-Net reads z, y, x; medseg's networks see x, y, z.
        "transpose_forward": [2, 1, 0],
        "transpose_backward": [2, 1, 0],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "continue_training": False,
        "foreground_intensity_properties_per_channel": {
            "0": dict.fromkeys(
                ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0
            )
        },
    }


if __name__ == "__main__":
    answer_of = {"make_folder": make_folder, "case": case}[sys.argv[1]](**json.loads(sys.argv[2]))
    print("RESULT " + json.dumps(answer_of))
