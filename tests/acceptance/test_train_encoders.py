"""Encoders from the planner to a bundle that OpenVINO and torch run alike: one in 2D, one in 3D."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import medseg
from medseg.models import verify_bundle
from tests.ball_data import make_case

QUIET = pytest.mark.filterwarnings("ignore:.*")  # torch's exporter and fabric warn about themselves

QUICK = (
    "sampling.batch_size=2",
    "schedule.steps=30",
    "schedule.validate_every=30",
    "optimiser.warmup_steps=2",
    "optimiser.learning_rate=0.01",
    "inference.mirror_axes=[]",
)


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of a bright and a dark disc: the middle slices of the balls."""
    for kind in ("images", "labels"):
        (tmp_path / "discs" / kind).mkdir(parents=True)
    for number in range(12):
        image, label = make_case(number)
        for kind, slice_ in (("images", image[..., 9].clip(0, 255)), ("labels", label[..., 9])):
            Image.fromarray(slice_.astype(np.uint8)).save(tmp_path / "discs" / kind / f"{number:02d}.png")
    return tmp_path / "discs"


@QUIET
def test_the_lightest_encoder_learns_pictures(pictures, tmp_path):
    overrides = (*QUICK, "network.encoder=lenet5", "patch=[20,28]")
    result = medseg.train(pictures, tmp_path / "run", overrides=overrides)
    assert result.plan.network.encoder == "lenet5"
    assert result.plan.network.features[0] == 8  # the planner's, for this encoder
    assert np.mean([score.mean for score in result.scores["validation"]]) > 0.3
    check_backends(result.bundle, pictures / "images" / "03.png")


@QUIET
def test_a_resnet_with_gates_learns_volumes(decathlon, tmp_path):
    shape = (
        "patch=[16,24,16]",
        "network.features=[8,8,16]",
        "network.strides=[[1,1,1],[2,2,1],[2,2,2]]",
        "network.kernel_sizes=[[3,3,1],[3,3,3],[3,3,3]]",
        "network.deep_supervision=1",
    )
    asked = ("network.encoder=resnet18", "network.attention_gates=true")
    result = medseg.train(decathlon, tmp_path / "run", overrides=(*QUICK, *shape, *asked))
    assert np.mean([score.mean for score in result.scores["validation"]]) > 0.3
    check_backends(result.bundle, decathlon / "imagesTr" / "ball_03.nii.gz")


def check_backends(bundle, image):
    """Both backends give the same labels but for voxels where two logits are as good as equal."""
    assert verify_bundle(bundle) == []
    found = [
        np.asarray(medseg.infer(image, model=bundle.path, backend=backend, device="cpu").labels.data)
        for backend in ("openvino", "torch")
    ]
    assert found[0].any()
    assert np.mean(found[0] != found[1]) < 1e-3
