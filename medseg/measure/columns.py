"""The data dictionary of measurements: what each is called, its kind, its unit, and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["text", "number", "count", "truth"]

# Goes up when a number comes to mean something else, or one is added: a study's cases are then measured anew.
MEASURES_VERSION = 2

# What is measured of 2D images only.
ONLY_2D = ("area_mm2", "perimeter_mm")

_MESH = "marching cubes, areas as in Nikolov et al. 2021 (doi:10.2196/26151)"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, kind, unit ("" where it has none), meaning, and where its definition is from."""

    name: str
    kind: Kind | str
    unit: str
    description: str
    source: str = ""


_SIZE = (
    Column("volume_ml", "number", "mL", "voxels times the volume of one; 0 where the label was not found"),
    Column("voxels", "count", "", "voxels that carry the label"),
    Column("touches_border", "truth", "", "whether it reaches the edge of the scan, and may go on outside"),
    Column("area_mm2", "number", "mm2", "2D images only: pixels times the area of one"),
    Column("perimeter_mm", "number", "mm", "2D images only: length of the contour", _MESH),
)
_PLACE = (
    *(
        Column(f"box_{axis}_{end}", "count", "", f"{which} index along array axis {axis}, counted from 0")
        for axis in "ijk"
        for end, which in (("first", "its first"), ("last", "its last"))
    ),
    *(
        Column(f"extent_{axis}_mm", "number", "mm", f"how far it reaches along {way}, voxels' edges included")
        for axis, way in (("r", "left to right"), ("a", "back to front"), ("s", "foot to head"))
    ),
    *(
        Column(f"centroid_{axis}_mm", "number", "mm", f"mean of its voxels' centres, towards {way} (RAS+)")
        for axis, way in (("r", "the right"), ("a", "the front"), ("s", "the head"))
    ),
    Column("components", "count", "", "connected pieces; voxels that share a corner are connected"),
    Column("largest_share", "number", "", "share of its voxels that the largest piece has, 0 to 1"),
)
_SHAPE = (
    Column("surface_mm2", "number", "mm2", "area of its surface", f"SurfaceArea of pyradiomics; {_MESH}"),
    Column("mesh_volume_ml", "number", "mL", "volume within that surface", "MeshVolume of pyradiomics"),
    Column(
        "surface_to_volume_per_mm",
        "number",
        "1/mm",
        "surface over the volume within it",
        "SurfaceVolumeRatio of pyradiomics",
    ),
    Column(
        "sphericity",
        "number",
        "",
        "surface of a ball of its mesh volume over its own surface: 1 for a ball, else less",
        "Sphericity of pyradiomics",
    ),
    Column(
        "max_diameter_mm",
        "number",
        "mm",
        "largest distance between two corners of its surface (2D images: of its contour)",
        "Maximum3DDiameter of pyradiomics",
    ),
    Column(
        "major_axis_mm",
        "number",
        "mm",
        "4 times the standard deviation of its voxels' centres along their longest axis: the length of an "
        "ellipse that spreads alike; a solid ellipsoid's is sqrt(5/4) times as long",
        "MajorAxisLength of pyradiomics",
    ),
    Column(
        "minor_axis_mm", "number", "mm", "the same along the second axis", "MinorAxisLength of pyradiomics"
    ),
    Column(
        "least_axis_mm", "number", "mm", "the same along the shortest axis", "LeastAxisLength of pyradiomics"
    ),
    Column("elongation", "number", "", "minor over major axis: 1 if round", "Elongation of pyradiomics"),
    Column("flatness", "number", "", "least over major axis: 0 if flat", "Flatness of pyradiomics"),
)
_INTENSITY = (
    Column("intensity_voxels", "count", "", "its voxels with a finite intensity; others are left out"),
    Column("intensity_mean", "number", "scan's", "mean intensity", "Mean of pyradiomics"),
    Column(
        "intensity_sd",
        "number",
        "scan's",
        "standard deviation of the intensities, over the number of voxels (ddof 0)",
        "StandardDeviation of pyradiomics",
    ),
    *(
        Column(
            f"intensity_{name}",
            "number",
            "scan's",
            f"{what} of the intensities, linear between voxels",
            "definition 7 of Hyndman and Fan 1996 (doi:10.1080/00031305.1996.10473566), as in pyradiomics",
        )
        for name, what in (
            ("median", "median"),
            *((f"p{share:02}", f"{share}th percentile") for share in (5, 25, 75, 95)),
        )
    ),
    Column("intensity_min", "number", "scan's", "smallest intensity", "Minimum of pyradiomics"),
    Column("intensity_max", "number", "scan's", "largest intensity", "Maximum of pyradiomics"),
)


def measure_columns(channels: Sequence[str] = ()) -> tuple[Column, ...]:
    """The columns of what `describe` gives, in its order.

    Of the first channel intensities stand in ``intensity_mean`` and so on; of any other in
    ``intensity_mean_<channel>``.

    Parameters
    ----------
    channels
        Names of the scan's channels; needed where there are several.
    """
    others = (
        replace(
            column,
            name=f"{column.name}_{channel}",
            description=f"{column.description}; of channel {channel}",
        )
        for channel in channels[1:]
        for column in _INTENSITY
    )
    return (*_SIZE, *_PLACE, *_SHAPE, *_INTENSITY, *others)
