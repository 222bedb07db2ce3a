"""Geometry <-> layer transform; Volume and LabelMap <-> layer. No viewer, no Qt, no import of napari.

napari shows the last two axes of a layer, the first of them downwards. A layer's axes therefore run
towards the patient's feet, back and left (I, P, L): it opens in axial slices in radiological
convention. Rolling the axes once gives sagittal slices the right way up; twice and transposed, coronal ones.

napari slices layers along their own axes only, so an oblique grid is shown in its own planes: layer
coordinates are then the patient's millimetres turned onto the grid. `LayerGrid.to_patient` gives the
exact point of the patient all the same, for any affine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg import Geometry, InputRefused, LabelMap, LabelSet, Verdict, Volume
from medseg.io.naming import with_unnamed
from medseg.report.drawing import display_window
from medseg.volume import Source, present_ids

LayerData = tuple[Any, dict[str, Any], str]
Floats = NDArray[np.float64]

METADATA_KEY = "medseg"
_WORLD_OF_LAYER_AXIS = (2, 1, 0)  # S, A, R; the layer runs the other way
_PLANES = ("axial", "coronal", "sagittal")  # a slider's name is the plane it leafs through
_PICTURE = ("row", "column")
_LARGEST_ID = 65535
_SAME_PLACE = 1e-3  # voxels: napari keeps scale and translate as they are given, but for rounding


@dataclass(frozen=True, slots=True)
class Opening:
    """With which words `medseg.read` opened a layer's file: what it takes to read the same again.

    Parameters
    ----------
    series
        The series that was chosen; None where there was no choice.
    allow
        What was allowed, in alphabetical order.
    """

    series: str | None = None
    allow: tuple[str, ...] = ()


UNASKED = Opening()


@dataclass(frozen=True, slots=True, eq=False)
class LayerGrid:
    """How a grid's arrays become a layer's, and a layer's coordinates the patient's.

    Parameters
    ----------
    geometry
        The grid. An ``is_2d`` one gives layers of two axes, others of three.
    """

    geometry: Geometry

    @property
    def axes(self) -> tuple[int, ...]:
        """The array axis that each layer axis runs along: axial, coronal, sagittal slices."""
        return _layout(self.geometry).axes

    @property
    def flipped(self) -> tuple[bool, ...]:
        """Whether a layer axis runs against its array axis."""
        return _layout(self.geometry).flipped

    @property
    def scale(self) -> tuple[float, ...]:
        """Millimetres per step along each layer axis; 1 per pixel where the spacing is unknown."""
        return _layout(self.geometry).scale

    @property
    def translate(self) -> tuple[float, ...]:
        """Layer coordinates of the layer's first voxel.

        On a grid along the patient's axes they are the point's (I, P, L) in mm, so layers of different
        grids lie on each other. On an oblique grid the grid's centre keeps its place. Without known
        spacing there is no such place, and the layer begins at 0.
        """
        return _layout(self.geometry).translate

    @property
    def layer_shape(self) -> tuple[int, ...]:
        """Voxels along each layer axis."""
        return tuple(self.geometry.shape[axis] for axis in self.axes)

    def is_at(self, scale: ArrayLike, translate: ArrayLike) -> bool:
        """Whether a layer with this scale and translate lies where a layer of this grid does."""
        own = np.array((self.scale, self.translate))
        found = np.array((scale, translate), dtype=np.float64)
        return found.shape == own.shape and bool(
            np.all(np.abs(found - own) <= _SAME_PLACE * np.array(self.scale))
        )

    def to_layer(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array (I, J, K) in the order of the layer: a view, so what is painted is in both."""
        if self.geometry.is_2d:
            array = array[:, :, 0]
        return np.flip(array.transpose(self.axes), self._flips)

    def to_array(self, layer_data: NDArray[Any]) -> NDArray[Any]:
        """The way back: layer data as an array (I, J, K), again a view."""
        array = np.flip(layer_data, self._flips).transpose(np.argsort(self.axes))
        return array[:, :, None] if self.geometry.is_2d else array

    def to_patient(self, point: ArrayLike) -> Floats:
        """World points RAS+ mm (..., 3) of layer coordinates (..., 3), or (..., 2) for a picture."""
        steps = (np.asarray(point, dtype=np.float64) - self.translate) / self.scale
        index = np.zeros((*steps.shape[:-1], 3))
        for n, (axis, flipped) in enumerate(zip(self.axes, self.flipped, strict=True)):
            last = self.geometry.shape[axis] - 1
            index[..., axis] = last - steps[..., n] if flipped else steps[..., n]
        return self.geometry.index_to_world(index)

    def from_patient(self, world: ArrayLike) -> Floats:
        """Layer coordinates of world points RAS+ mm (..., 3). For a picture, of their projection on it."""
        index = self.geometry.world_to_index(world)
        steps = []
        for axis, flipped in zip(self.axes, self.flipped, strict=True):
            last = self.geometry.shape[axis] - 1
            steps.append(last - index[..., axis] if flipped else index[..., axis])
        return np.stack(steps, axis=-1) * self.scale + self.translate

    def voxel(self, point: Sequence[float] | NDArray[Any]) -> tuple[int, int, int]:
        """The voxel (i, j, k) nearest to layer coordinates (3,), or (2,) for a picture; may lie outside."""
        layout = _layout(self.geometry)
        index = [0, 0, 0]  # of a picture the third stays
        # Without numpy, for which three numbers are too few: it is asked at every move of the mouse.
        for at, first, size, axis, flipped in zip(
            point, layout.translate, layout.scale, layout.axes, layout.flipped, strict=True
        ):
            n = round((float(at) - first) / size)
            index[axis] = self.geometry.shape[axis] - 1 - n if flipped else n
        i, j, k = index
        return i, j, k

    def array_box(self, layer_box: Sequence[slice]) -> tuple[slice, slice, slice]:
        """A box of the layer's data, a slice with start and stop per layer axis, as one of the array."""
        layout, box = _layout(self.geometry), [slice(0, 1)] * 3  # of a picture the third axis has one voxel
        for part, axis, flipped in zip(layer_box, layout.axes, layout.flipped, strict=True):
            size = self.geometry.shape[axis]
            box[axis] = (
                slice(size - part.stop, size - part.start) if flipped else slice(part.start, part.stop)
            )
        i, j, k = box
        return i, j, k

    def layer_indices(self, indices: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], ...]:
        """Indices (N,) along i, j and k of the array, as indices along each axis of the layer's data."""
        layout = _layout(self.geometry)
        return tuple(
            self.geometry.shape[axis] - 1 - indices[axis] if flipped else indices[axis]
            for axis, flipped in zip(layout.axes, layout.flipped, strict=True)
        )

    def slice_coordinate(self, axis: int, index: int) -> float:
        """Where slice ``index`` across an array axis lies along its layer axis, in layer coordinates."""
        n = self.axes.index(axis)
        step = self.geometry.shape[axis] - 1 - index if self.flipped[n] else index
        return self.translate[n] + step * self.scale[n]

    @property
    def _flips(self) -> tuple[int, ...]:
        return tuple(n for n, flipped in enumerate(self.flipped) if flipped)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the properties of the same names of `LayerGrid` give."""

    axes: tuple[int, ...]
    flipped: tuple[bool, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]


@lru_cache(maxsize=64)  # the cursor asks for it at every move
def _layout(geometry: Geometry) -> _Layout:
    closest, orientation, spacing = geometry.closest_world_axes, geometry.orientation, geometry.spacing
    axes = tuple(closest.index(world) for world in _WORLD_OF_LAYER_AXIS)
    if geometry.is_2d:
        axes = tuple(axis for axis in axes if axis != 2)
    flipped = tuple(orientation[axis] in "RAS" for axis in axes)
    scale = tuple(spacing[axis] for axis in axes)
    if not geometry.spacing_known:
        return _Layout(axes, flipped, scale, (0.0,) * len(axes))
    shape = np.array([geometry.shape[axis] for axis in axes])
    centre = geometry.index_to_world((np.array(geometry.shape) - 1) / 2)
    first = -centre[[closest[axis] for axis in axes]] - (shape - 1) / 2 * np.array(scale)
    return _Layout(axes, flipped, scale, tuple(float(x) for x in first))


def image_layers(volume: Volume, name: str, opening: Opening = UNASKED) -> list[LayerData]:
    """A scan as napari takes it: one grey layer for each channel, or one of colours for an RGB picture.

    Layers share memory with the volume.
    """
    grid = LayerGrid(volume.geometry)
    options = _placed(grid, volume.source, volume.verdict, opening)
    if volume.source.format == "image" and len(volume.data) in (3, 4):
        colours = np.stack([grid.to_layer(channel) for channel in volume.data], axis=-1)
        return [(colours, {**options, "name": name, "rgb": True}, "image")]
    layers: list[LayerData] = []
    for n in range(len(volume.data)):
        channel = Volume(volume.data[n : n + 1], volume.geometry, volume.source)
        title = name if len(volume.data) == 1 else f"{name} [{n}]"
        shown = {**options, "name": title, "contrast_limits": display_window(channel)}
        kept = {**options["metadata"][METADATA_KEY], "channel": n, "channels": len(volume.data)}
        shown["metadata"] = {METADATA_KEY: kept}
        if n:
            shown |= {"blending": "additive", "visible": False}
        layers.append((grid.to_layer(volume.data[n]), shown, "image"))
    return layers


def labels_layer(labelmap: LabelMap, name: str, opening: Opening = UNASKED) -> LayerData:
    """A segmentation as napari takes it, with the label set's colours; names show in the status bar.

    The layer shares memory with the label map.
    """
    grid = LayerGrid(labelmap.geometry)
    options = _placed(grid, labelmap.source, labelmap.verdict, opening)
    options["metadata"][METADATA_KEY]["labels"] = labelmap.labels
    # None is the colour of ids that are not in the set yet: a new label is seen while it is painted.
    colours: dict[int | None, tuple[float, ...]] = {None: (1.0, 1.0, 1.0, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
    colours |= {label.id: (*(c / 255 for c in label.colour), 1.0) for label in labelmap.labels}
    names = {"index": [0, *labelmap.labels.ids], "name": [labelmap.labels.background, *labelmap.labels.names]}
    options |= {"name": name, "colormap": colours, "features": names, "opacity": 0.5}
    return grid.to_layer(labelmap.data), options, "labels"


def labelmap_of(layer_data: NDArray[Any], metadata: Mapping[str, Any]) -> LabelMap:
    """The label map behind a labels layer that `labels_layer` made, as it has been painted since.

    Ids that were painted but are not in the label set are added to it: ``label 7``.

    Raises
    ------
    KeyError
        If the layer is not medseg's: nothing says on which grid it stands.
    ValueError
        If the layer holds numbers that no label map can, or its shape is no longer that of its grid.
    """
    kept = metadata[METADATA_KEY]
    data = LayerGrid(kept["geometry"]).to_array(as_ids(layer_data))
    known: LabelSet = kept["labels"]
    new = sorted(set(present_ids(data)) - set(known.ids))
    return LabelMap(data, kept["geometry"], with_unnamed(known, new) if new else known, kept["source"])


def as_ids(layer_data: NDArray[Any]) -> NDArray[Any]:
    """Layer data in an unsigned type of at most 16 bits where it is not one already; else the data itself.

    Raises
    ------
    ValueError
        For numbers below 0 or above 65535, which are no ids.
    """
    data = np.asarray(layer_data)
    if data.dtype in (np.uint8, np.uint16) or not data.size:
        return data.astype(np.uint8) if not data.size else data
    low, high = int(data.min()), int(data.max())
    if low < 0 or high > _LARGEST_ID:
        raise ValueError(
            f"the labels run from {low} to {high}, expected ids from 0 to {_LARGEST_ID}: renumber them"
        )
    return data.astype(np.uint8 if high < 256 else np.uint16)


def volume_of(channels: Sequence[tuple[NDArray[Any], Mapping[str, Any]]]) -> Volume:
    """The scan behind image layers that `image_layers` made, given as data and metadata, a channel each.

    Of one layer the volume shares the memory. The channels stand in the order given, and a picture in
    colours has as many as it has colours. Verdicts of all of them add up.

    Raises
    ------
    KeyError
        If a layer is not medseg's.
    InputRefused
        ``grid-differs`` where the layers do not share one grid.
    """
    kept = [metadata[METADATA_KEY] for _, metadata in channels]
    geometry: Geometry = kept[0]["geometry"]
    for one in kept[1:]:
        if not geometry.same_grid(one["geometry"]):
            raise InputRefused(
                f"the channels have {geometry.shape} and {one['geometry'].shape} voxels, or lie at different "
                "places: channels must share one grid, resample one to the other first",
                code="grid-differs",
            )
    grid = LayerGrid(geometry)
    arrays = [_channels_first(grid, np.asarray(data)) for data, _ in channels]
    sources: list[Source] = [one["source"] for one in kept]
    paths = tuple(dict.fromkeys(path for source in sources for path in source.paths))
    source = sources[0] if paths == sources[0].paths else replace(sources[0], paths=paths)
    verdict: Verdict = reduce(add, (one["verdict"] for one in kept))
    return Volume(arrays[0] if len(arrays) == 1 else np.concatenate(arrays), geometry, source, verdict)


def opening_of(metadata: Iterable[Mapping[str, Any]]) -> Opening:
    """How the layers with this metadata were opened, as one scan of several channels.

    Everything that was allowed for one of them, and the series where all were opened by the same one.
    """
    openings: list[Opening] = [one[METADATA_KEY].get("opening", UNASKED) for one in metadata]
    series = {one.series for one in openings}
    allow = sorted({word for one in openings for word in one.allow})
    return Opening(series.pop() if len(series) == 1 else None, tuple(allow))


def _channels_first(grid: LayerGrid, data: NDArray[Any]) -> NDArray[Any]:
    if data.ndim == len(grid.axes):
        return grid.to_array(data)[None]
    return np.stack([grid.to_array(data[..., colour]) for colour in range(data.shape[-1])])


def _placed(grid: LayerGrid, source: Source, verdict: Verdict, opening: Opening) -> dict[str, Any]:
    flat = grid.geometry.is_2d
    unit = "mm" if grid.geometry.spacing_known else "pixel"
    kept = {"geometry": grid.geometry, "source": source, "verdict": verdict, "opening": opening}
    return {
        "scale": grid.scale,
        "translate": grid.translate,
        "axis_labels": _PICTURE if flat else _PLANES,
        "units": (unit,) * len(grid.axes),
        "metadata": {METADATA_KEY: kept},
    }
