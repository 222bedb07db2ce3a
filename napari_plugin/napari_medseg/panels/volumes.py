"""How large each structure of a labels layer is, as it has been painted. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from medseg import Geometry, LabelSet
from medseg.io.naming import with_unnamed
from medseg.labels import Colour
from medseg.measure import why_no_volume
from medseg.volume import count_ids
from napari_medseg.layers import METADATA_KEY, LayerGrid, as_ids


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """One structure of a labels layer.

    Parameters
    ----------
    id, name, colour
        As in the label set; of a new id that was painted, ``label 7`` and a colour from the palette.
    voxels
        Voxels that carry the id; 0 where it is absent.
    volume_ml
        Its volume in millilitres, 0.0 where it is absent; None where the grid cannot tell.
    reason
        Why ``volume_ml`` is None, else None.
    """

    id: int
    name: str
    colour: Colour
    voxels: int
    volume_ml: float | None
    reason: str | None = None

    @property
    def text(self) -> str:
        """The volume with as many digits as mean something: a voxel is rarely below 0.0001 mL."""
        if self.volume_ml is None:
            return "-"
        return f"{self.volume_ml:.1f}" if self.volume_ml >= 100 else f"{self.volume_ml:.3f}"


def volume_rows(layer_data: NDArray[Any], metadata: Mapping[str, Any]) -> tuple[VolumeRow, ...]:
    """Every structure of the layer's label set, present or not, and new ids that were painted, by id.

    The layer may be painted meanwhile: what is counted then is what it was at some moment of the count.

    Raises
    ------
    KeyError
        If the layer is not medseg's.
    ValueError
        If it holds numbers that are no ids.
    """
    kept = metadata[METADATA_KEY]
    geometry: Geometry = kept["geometry"]
    known: LabelSet = kept["labels"]
    # As the array lies in memory: a layer that runs against it would be copied to be counted.
    counts = count_ids(LayerGrid(geometry).to_array(as_ids(layer_data)))
    new = sorted(set(counts) - {0} - set(known.ids))
    labels = with_unnamed(known, new) if new else known
    reason = why_no_volume(geometry)
    voxel_ml = geometry.voxel_volume_mm3 / 1000
    return tuple(
        VolumeRow(
            label.id,
            label.name,
            label.colour,
            counts.get(label.id, 0),
            None if reason else counts.get(label.id, 0) * voxel_ml,
            reason,
        )
        for label in labels
    )
