"""Volume and LabelMap: an array that fits its grid, or an error that names both shapes."""

from __future__ import annotations

import numpy as np
import pytest

from medseg import Geometry, LabelMap, LabelSet, Volume
from medseg.volume import Source, holds_any, present_ids

GRID = Geometry((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 6, 5, 4), (1, 4, 5)])
def test_voxels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected \\(channels, 4, 5, 6\\)"):
        Volume(np.zeros(shape), GRID)


@pytest.mark.parametrize("dtype", [np.complex64, bool, "U3"])
def test_voxels_are_numbers(dtype: type) -> None:
    with pytest.raises(ValueError, match="integers or floats"):
        Volume(np.zeros((1, 4, 5, 6), dtype), GRID)


def test_a_label_map_knows_every_id_it_holds() -> None:
    data = np.zeros((4, 5, 6), np.uint8)
    data[0, 0, 0], data[3, 4, 5] = 7, 255
    assert LabelMap(data, GRID, LabelSet.from_ids([7, 255, 9])).labels.ids == (7, 9, 255)
    with pytest.raises(ValueError, match=r"\[255\]"):
        LabelMap(data, GRID, LabelSet.from_ids([7]))
    with pytest.raises(ValueError, match="unsigned"):
        LabelMap(data.astype(np.int16), GRID, LabelSet.from_ids([7, 255]))
    with pytest.raises(ValueError, match="has shape"):
        LabelMap(data[:2], GRID, LabelSet.from_ids([7, 255]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_present_ids_are_those_that_occur_without_background(dtype: type) -> None:
    data = np.zeros((4, 5, 6), dtype)
    data[1, 2], data[3, 0, 0] = 9, 200
    assert present_ids(data) == (9, 200)
    assert present_ids(np.zeros((2, 2, 2), dtype)) == ()


def test_header_facts_are_not_shown() -> None:
    source = Source(header={"PatientName": "Canary"})
    assert "Canary" not in repr(source)
    assert "Canary" not in repr(Volume(np.zeros((1, 4, 5, 6)), GRID, source))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("ids", [(9, 200), (70000,), (200, 65535, 9), ()])
def test_voxels_with_one_of_some_ids_are_found_in_any_layout(dtype: type, ids: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).choice(np.array([0, 9, 30, 200], dtype), (4, 7, 5))
    for laid_out in (data, np.asfortranarray(data), data[::-1, :, ::2], data.transpose(2, 0, 1)):
        found = holds_any(laid_out, ids)
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, np.isin(laid_out, np.array(ids, np.int64)))
