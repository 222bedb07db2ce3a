"""A result that is no anatomy is a warning of its own, which --strict refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.models import ModelBundle, Scope
from medseg.quality import fit_anatomy
from medseg.volume import LabelMap, Volume
from tests.threshold_model import expected_classes, save_threshold_model

IDS = np.array([0, 7, 255], np.uint16)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def scan(inner: bool = True) -> Volume:
    """Two boxes; or, so large that it is not taken for the brighter one, the darker one alone."""
    data = np.random.default_rng(0).normal(0, 0.2, (40, 36, 24)).astype(np.float32)
    if inner:
        data[6:20, 8:20, 4:12] += 8.0
        data[22:34, 8:28, 10:20] += 20.0
    else:
        data[4:36, 4:32, 2:20] += 8.0
    return Volume(data[None], Geometry(data.shape, AFFINE))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    whole = scan()
    ids = IDS[expected_classes(whole.data[0])]
    assert set(np.unique(ids)) == {0, 7, 255}
    labels = LabelMap(ids, whole.geometry, LabelSet.from_names({7: "outer", 255: "inner"}))
    scope = Scope(dimensions=3, description="boxes", anatomy=fit_anatomy([labels]))
    return save_threshold_model(tmp_path_factory.mktemp("anatomy") / "model", scope=scope)


def test_the_anatomy_survives_in_the_bundle(model: ModelBundle) -> None:
    assert model.scope.anatomy is not None
    assert medseg.load_model(model.path).scope == model.scope


def test_what_the_model_knows_passes(model: ModelBundle) -> None:
    assert medseg.infer(scan(), model).verdict.codes == ()
    assert medseg.infer(scan(), model, strict=True).labels.data.any()


def test_a_missing_structure_is_a_warning_and_refused_where_asked(model: ModelBundle) -> None:
    lacking = scan(inner=False)
    ids = IDS[expected_classes(lacking.data[0])]
    found = medseg.infer(lacking, model)
    np.testing.assert_array_equal(found.labels.data, ids)
    assert found.verdict.codes == ("outside-scope-anatomy",)
    assert "1 of 2 structures not found" in found.verdict.reasons[0].message
    with pytest.raises(InputRefused, match="structures not found") as refused:
        medseg.infer(lacking, model, strict=True)
    assert refused.value.code == "outside-scope-anatomy"


def test_a_model_without_an_anatomy_says_nothing(tmp_path: Path) -> None:
    bundle = save_threshold_model(tmp_path / "plain")
    assert "anatomy" not in (bundle.path / "medseg.yaml").read_text()
    assert medseg.infer(scan(inner=False), bundle).verdict.codes == ()
