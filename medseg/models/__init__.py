"""Models on disk: the bundle, how it is saved, verified, found and opened. Loading runs no code."""

from medseg.models.anatomy import Anatomy, Structure
from medseg.models.bundle import ModelBundle
from medseg.models.quality import LabelQuality, Quality
from medseg.models.registry import candidates, default_model, list_models, load_model
from medseg.models.save import save_bundle, save_with_quality
from medseg.models.scope import FeatureRange, Scope
from medseg.models.verify import verify_bundle

__all__ = [
    "Anatomy",
    "FeatureRange",
    "LabelQuality",
    "ModelBundle",
    "Quality",
    "Scope",
    "Structure",
    "candidates",
    "default_model",
    "list_models",
    "load_model",
    "save_bundle",
    "save_with_quality",
    "verify_bundle",
]
