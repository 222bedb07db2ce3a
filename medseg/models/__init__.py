"""Models on disk: the bundle, how it is saved, verified, found and opened. Loading runs no code."""

from medseg.models.bundle import ModelBundle
from medseg.models.registry import candidates, default_model, list_models, load_model
from medseg.models.save import save_bundle
from medseg.models.scope import FeatureRange, Scope
from medseg.models.verify import verify_bundle

__all__ = [
    "FeatureRange",
    "ModelBundle",
    "Scope",
    "candidates",
    "default_model",
    "list_models",
    "load_model",
    "save_bundle",
    "verify_bundle",
]
