"""Every network of the registry, in 2D and 3D: exported, verified, and the same in OpenVINO as in torch.

    pytest tests/acceptance/test_every_network_in_openvino.py

Takes some ten minutes. tests/networks/test_export.py does the same with one network of each kind of block.
"""

from __future__ import annotations

import pytest

from tests.networks.plans import CASES
from tests.networks.test_export import check_export
from tests.training.test_onnx_export import QUIET


@QUIET
@pytest.mark.parametrize(("name", "dimensions"), CASES)
def test_openvino_computes_what_torch_computes(tmp_path, name, dimensions):
    check_export(tmp_path, name, dimensions, {})
