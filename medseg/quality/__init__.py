"""Is a scan one the model was made for? Later: how far to trust a result."""

from medseg.quality.features import channel_features, coarse_layout, in_ras_order
from medseg.quality.fit import fit_scope
from medseg.quality.scope import check_scope

__all__ = ["channel_features", "check_scope", "coarse_layout", "fit_scope", "in_ras_order"]
