"""The quality section of a bundle: kept whole, checked when it is read, and absent where there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import medseg
from medseg.errors import ModelRefused, UsageError
from medseg.models import ModelBundle, Quality, load_model, save_with_quality, verify_bundle
from tests.models.test_bundle import flip_a_bit, rewrite

LABEL = {
    "id": 255,
    "cases": 12,
    "knots": ((0.0, 0.0), (0.7, 0.61), (0.9, 0.88)),
    "typical": 0.85,
    "low_below": 0.7,
    "spearman": 0.8,
    "pearson": None,
    "mean_absolute_error": 0.02,
    "guess_error": 0.06,
}
SECTION = {
    "data": "twelve scans that were held back",
    "cases": 12,
    "low_drop": 0.05,
    "spearman": 0.7,
    "pearson": 0.75,
    "mean_absolute_error": 0.015,
    "guess_error": 0.04,
    "labels": ({**LABEL, "id": 2}, LABEL),
}


def section(**label: Any) -> Quality:
    return Quality.model_validate({**SECTION, "labels": ({**LABEL, **label},)})


def test_it_comes_back_as_it_was_saved(save: Callable[..., ModelBundle], tmp_path: Path) -> None:
    quality = Quality.model_validate(SECTION)
    bundle = save(tmp_path / "toy", quality=quality)
    loaded = load_model(bundle.path)
    assert loaded.quality == quality
    stated = yaml.safe_load((bundle.path / "medseg.yaml").read_text(encoding="utf-8"))["quality"]
    assert stated["labels"][1]["knots"] == [[0.0, 0.0], [0.7, 0.61], [0.9, 0.88]]
    assert verify_bundle(loaded) == []


def test_a_bundle_without_it_is_written_as_before_there_was_any(bundle: ModelBundle) -> None:
    raw = (bundle.path / "medseg.yaml").read_bytes()
    assert bundle.quality is None
    assert "quality" not in yaml.safe_load(raw)
    assert load_model(bundle.path).hash == hashlib.sha256(raw).hexdigest()


def test_a_bundle_from_before_loads_with_the_hash_it_had() -> None:
    bundle = medseg.load_model("hippocampus")
    raw = (bundle.path / "medseg.yaml").read_bytes()
    assert b"quality" not in raw
    assert bundle.quality is None
    assert bundle.hash == hashlib.sha256(raw).hexdigest()


def test_written_again_with_it_everything_else_is_as_it_was(bundle: ModelBundle, tmp_path: Path) -> None:
    quality = section()
    again = save_with_quality(bundle, tmp_path / "again", quality)
    loaded = load_model(tmp_path / "again")
    assert again.hash == loaded.hash != bundle.hash
    assert loaded.quality == quality
    assert dict(loaded.files) == dict(bundle.files)
    for name in bundle.files:
        assert (loaded.path / name).read_bytes() == (bundle.path / name).read_bytes()
    before, after = (yaml.safe_load((b.path / "medseg.yaml").read_text()) for b in (bundle, loaded))
    assert after.pop("quality")
    assert after == before
    assert verify_bundle(loaded) == []
    assert load_model(bundle.path).quality is None


def test_in_place_it_is_replaced_and_taken_away_again(bundle: ModelBundle) -> None:
    first = bundle.hash
    save_with_quality(bundle, bundle.path, section())
    loaded = load_model(bundle.path)
    assert loaded.quality == section()
    assert save_with_quality(loaded, bundle.path, None).hash == first
    assert [path.name for path in bundle.path.parent.iterdir()] == ["toy"]


def test_an_altered_file_is_not_blessed(bundle: ModelBundle, tmp_path: Path) -> None:
    flip_a_bit(bundle.path / "models/model.safetensors")
    with pytest.raises(ModelRefused, match="altered or damaged"):
        save_with_quality(bundle, tmp_path / "again", section())
    assert not (tmp_path / "again").exists()


def test_a_label_that_the_plan_does_not_have_is_refused(
    bundle: ModelBundle, save: Callable[..., ModelBundle], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"quality: labels \[7\] are not the plan's"):
        save_with_quality(bundle, tmp_path / "again", section(id=7))
    saved = save(tmp_path / "other", quality=section())
    rewrite(saved.path, lambda values: values["quality"]["labels"][0].update(id=7))
    with pytest.raises(ModelRefused, match=r"labels \[7\]"):
        load_model(saved.path)


@pytest.mark.parametrize(
    "change",
    [
        {"knots": ((0.5, 0.5), (0.5, 0.6))},
        {"knots": ((0.5, 0.5), (0.6, 0.4))},
        {"knots": ()},
        {"knots": ((0.5, 1.5),)},
        {"typical": float("nan")},
        {"spearman": 1.1},
        {"surprise": 1},
    ],
)
def test_what_is_no_rising_curve_of_shares_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"knots|typical|spearman|surprise"):
        section(**change)


def test_labels_stand_once_and_ascending() -> None:
    with pytest.raises(ValueError, match="each once, ascending"):
        Quality.model_validate({**SECTION, "labels": (LABEL, LABEL)})
