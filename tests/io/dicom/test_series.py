"""What belongs together in one volume: from headers made by hand, in an order that says nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import InputRefused, UsageError
from medseg.io.dicom.geometry import stack
from medseg.io.dicom.objects import Frame
from medseg.io.dicom.series import Listing, Series, choose, split

FOUR = (0, 2.5, 5, 7.5)
CORONAL = {"row": np.array([1.0, 0, 0]), "column": np.array([0, 0, -1.0])}
Shuffle = Callable[[list[Frame]], list[Frame]]


def _counts(found: tuple[Series, ...]) -> list[int]:
    return [len(series.frames) for series in found]


def _same(series: Series, frames: list[Frame]) -> bool:
    return {id(f) for f in series.frames} == {id(f) for f in frames}


def _refusal(found: tuple[Series, ...], **options: Any) -> InputRefused:
    with pytest.raises(InputRefused) as refusal:
        choose(Path("scan"), Listing(found), options.get("series"))
    return refusal.value


def test_an_ordinary_stack_is_one_series_under_its_uid(make: Any, shuffled: Shuffle) -> None:
    (found,) = split(shuffled(make.stack(*FOUR)))
    assert found.id == "1.2.3"
    assert found.summary == "CT, 4 x 7x5, oblique axial"


def test_series_are_ordered_by_their_numbers(make: Any, shuffled: Shuffle) -> None:
    frames = [make.frame(series_uid=f"1.{10 - n}", series_number=n) for n in (11, 2, 1)]
    frames.append(make.frame(series_uid="1.77", series_number=None))
    assert [s.id for s in split(shuffled(frames))] == ["1.9", "1.8", "1.-1", "1.77"]


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"echo": 4.92}, {"echo": 9.84}, ("echo time 4.92 ms", "echo time 9.84 ms")),
        ({"b_value": None}, {"b_value": 1000.0}, ("no b-value", "b = 1000")),
        ({"component": "MAGNITUDE"}, {"component": "PHASE"}, ("magnitude", "phase")),
        (
            {"image_type": ("ORIGINAL", "PRIMARY", "AXIAL")},
            {"image_type": ("DERIVED", "SECONDARY", "MPR")},
            ("ORIGINAL/PRIMARY/AXIAL", "DERIVED/SECONDARY/MPR"),
        ),
        (
            {"image_type": ("ORIGINAL", "PRIMARY", "DOE-JANE")},
            {"image_type": ("ORIGINAL", "PRIMARY", "OTHER")},
            ("kind 1 of 2", "ORIGINAL/PRIMARY/OTHER"),
        ),
        ({"patient": 5}, {"patient": 7}, ("patient 1 of 2", "patient 2 of 2")),
        ({"study": 5}, {"study": 7}, ("study 1 of 2", "study 2 of 2")),
        ({"stack": "1"}, {"stack": "2"}, ("stack 1 of 2", "stack 2 of 2")),
        ({}, {"frame_of_reference": "1.6"}, ("frame of reference 1 of 2", "frame of reference 2 of 2")),
        ({}, {"pixel_spacing": (0.8, 1.25)}, ("pixels of 1.25 x 0.75 mm", "pixels of 1.25 x 0.8 mm")),
        ({}, {"rows": 6}, ("CT, 4 x 7x5", "CT, 4 x 7x6")),
        ({}, CORONAL, ("oblique axial", "coronal")),
        ({"series_number": 4}, {"series_number": 5}, ("series number 4", "series number 5")),
        ({}, {"samples": 3, "photometric": "RGB", "bits": (8, 8, 7, False)}, ("16 bits", "colour")),
        ({}, {"modality": "PT"}, ("CT, 4", "PT, 4")),
    ],
)
def test_what_tells_images_apart_splits_one_uid_and_is_said(
    make: Any, shuffled: Shuffle, one: dict[str, Any], other: dict[str, Any], told: tuple[str, str]
) -> None:
    first, second = make.stack(*FOUR, **one), make.stack(*FOUR, **other)
    mixed = [first[0], second[0], *shuffled(first[1:] + second[1:])]
    found = split(mixed)
    assert [s.id for s in found] == ["1.2.3#1", "1.2.3#2"]
    assert _same(found[0], first)
    assert _same(found[1], second)
    for series, words in zip(found, told, strict=True):
        assert words in series.summary
        assert "DOE" not in series.summary
    assert _refusal(found).code == "several-series"


def test_what_is_no_uid_is_counted_in_the_order_of_the_files(make: Any) -> None:
    garbled = [make.stack(*FOUR, series_uid="", series=key, series_number=n) for n, key in ((3, 71), (2, 5))]
    absent = make.stack(*FOUR, series_uid="", series_number=9)
    found = split([*garbled[0][:1], *absent, *garbled[1], *garbled[0][1:]])
    assert [item.id for item in found] == ["unreadable-uid-2", "unreadable-uid-1", "no-uid"]
    assert [item.uid for item in found] == [item.id for item in found]
    assert _same(choose(Path("x"), Listing(found), "unreadable-uid-1"), garbled[0])
    two = split(make.stack(*FOUR, series_uid="", echo=1.0) + make.stack(*FOUR, series_uid="", echo=2.0))
    assert [item.id for item in two] == ["no-uid#1", "no-uid#2"]


def test_rounding_does_not_split_a_series(make: Any) -> None:
    frames = [
        make.frame(2.5 * n, echo=4.92 + e, pixel_spacing=(0.75, 1.25 + e), row=np.array([0.96, 0.28, e]))
        for n, e in enumerate(np.linspace(0, 1e-5, 6))
    ]
    assert _counts(split(frames)) == [6]


def test_a_study_of_its_own_for_every_slice_tells_nothing(make: Any) -> None:
    assert _counts(split([make.frame(2.5 * n, study=n) for n in range(4)])) == [4]


def test_vendor_words_of_the_image_type_do_not_split_one_stack(make: Any) -> None:
    frames = make.stack(0, 1, 2, image_type=("ORIGINAL", "PRIMARY", "AXIAL", "ADD"))
    assert _counts(split([*frames, *make.stack(5, 12, 19)])) == [6]


def test_vendor_words_of_the_image_type_tell_images_at_one_position_apart(
    make: Any, shuffled: Shuffle
) -> None:
    water = make.stack(*FOUR, image_type=("DERIVED", "PRIMARY", "M", "WATER"))
    fat = make.stack(*FOUR, image_type=("DERIVED", "PRIMARY", "M", "FAT"))
    found = split(shuffled(water + fat))
    assert _same(found[0], fat)
    assert _same(found[1], water)
    assert "image type 1 of 2" in found[0].summary
    assert _refusal(found).code == "several-series"


def test_echoes_times_magnitude_and_phase_are_all_told_apart(make: Any, shuffled: Shuffle) -> None:
    frames = [
        frame
        for echo in (4.9, 9.8, 14.7)
        for component in ("MAGNITUDE", "PHASE")
        for frame in make.stack(*FOUR, echo=echo, component=component)
    ]
    found = split(shuffled(frames))
    assert _counts(found) == [4] * 6
    assert all(
        "echo time" in s.summary and s.summary.count("phase") + s.summary.count("magnitude") == 1
        for s in found
    )
    assert len({s.id for s in found}) == 6


MOMENTS = ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "ContentTime")


@pytest.mark.parametrize("name", MOMENTS)
def test_a_number_that_counts_volumes_parts_them(make: Any, shuffled: Shuffle, name: str) -> None:
    volumes = [make.stack(*FOUR, moment=((name, float(t)),)) for t in (11, 2, 30)]
    found = split(shuffled([f for volume in volumes for f in volume]))
    assert [s.volume for s in found] == [(1, 3), (2, 3), (3, 3)]
    for series, volume in zip(found, (volumes[1], volumes[0], volumes[2]), strict=True):
        assert _same(series, volume)
    refusal = _refusal(found)
    assert refusal.code == "four-dimensional"
    assert "3 volumes of one series at the same positions" in str(refusal)
    assert "3: CT, 4 x 7x5, oblique axial, volume 3 of 3, 1.2.3#3" in str(refusal)


def test_a_clock_that_goes_on_between_slices_parts_by_its_order_at_each_position(
    make: Any, shuffled: Shuffle
) -> None:
    frames = [
        make.frame(2.5 * z, moment=(("TriggerTime", 100.0 * t + 7 * z),)) for z in range(4) for t in range(3)
    ]
    found = split(shuffled(frames))
    assert _counts(found) == [4, 4, 4]
    for t, series in enumerate(found):
        assert _same(series, frames[t::3])


@pytest.mark.parametrize("by_volume", [True, False])
def test_running_numbers_part_volumes_where_they_run_regularly(
    make: Any, shuffled: Shuffle, by_volume: bool
) -> None:
    pairs = (
        [(t, z) for t in range(3) for z in range(4)]
        if by_volume
        else [(t, z) for z in range(4) for t in range(3)]
    )
    frames = [
        make.frame(2.5 * z, moment=(("InstanceNumber", float(5 + n)),)) for n, (_, z) in enumerate(pairs)
    ]
    found = split(shuffled(frames))
    assert _counts(found) == [4, 4, 4]
    for t, series in enumerate(found):
        assert _same(series, [frame for frame, (time, _) in zip(frames, pairs, strict=True) if time == t])


def test_running_numbers_in_no_order_part_nothing(make: Any) -> None:
    numbers = (1, 2, 4, 3, 5, 8, 7, 6)
    frames = [
        make.frame(2.5 * (n % 4), moment=(("InstanceNumber", float(i)),)) for n, i in enumerate(numbers)
    ]
    assert _counts(split(frames)) == [8]


def test_two_numbers_may_be_needed(make: Any, shuffled: Shuffle) -> None:
    frames = [
        make.frame(
            2.5 * z, moment=(("TemporalPositionIdentifier", float(t)), ("AcquisitionNumber", float(a)))
        )
        for t in range(3)
        for a in range(2)
        for z in range(4)
    ]
    found = split(shuffled(frames))
    assert [s.volume for s in found] == [(n, 6) for n in range(1, 7)]
    for n, series in enumerate(found):
        assert _same(series, frames[4 * n : 4 * n + 4])


def test_objects_that_each_hold_all_positions_are_volumes(make: Any, shuffled: Shuffle) -> None:
    objects = [make.image(frames=4) for _ in range(3)]
    frames = [make.frame(2.5 * n, image=image, number=n) for image in objects for n in range(4)]
    found = split(shuffled(frames))
    assert [{id(f.image) for f in s.frames} for s in found] == [{id(image)} for image in objects]
    assert _refusal(found).code == "four-dimensional"


def test_slices_that_nothing_tells_apart_stay_together(make: Any) -> None:
    assert _counts(split(make.stack(*FOUR) + make.stack(*FOUR))) == [8]
    assert _counts(split(make.stack(*FOUR) + make.stack(5))) == [5]


def test_one_position_many_times_is_named_as_such(make: Any, shuffled: Shuffle) -> None:
    frames = [make.frame(0, moment=(("AcquisitionNumber", float(t)),)) for t in range(4)]
    found = split(shuffled(frames))
    assert _counts(found) == [1] * 4
    assert _refusal(found).code == "repeated-positions"


def test_acquisitions_of_overlapping_range_are_two_series(make: Any, shuffled: Shuffle) -> None:
    one = make.stack(*np.arange(0, 30, 2.5), moment=(("AcquisitionNumber", 1.0),))
    for start in (20, 21.3):  # the same positions, and positions in between
        two = make.stack(*np.arange(start, 50, 2.5), moment=(("AcquisitionNumber", 2.0),))
        found = split(shuffled(one + two))
        assert _same(found[0], one)
        assert _same(found[1], two)
        assert "acquisition 2 of 2" in found[1].summary
        assert _refusal(found).code == "several-series"


def test_acquisitions_one_after_the_other_are_one_scan(make: Any) -> None:
    one = make.stack(0, 5, 10, moment=(("AcquisitionNumber", 1.0),))
    two = make.stack(20, 25, 30, moment=(("AcquisitionNumber", 2.0),))
    assert _counts(split(one + two)) == [6]


def test_copies_are_never_volumes(make: Any) -> None:
    frames = make.stack(*FOUR, moment=(("AcquisitionNumber", 1.0),))
    copies = [
        make.frame(image=f.image, position=f.position, moment=(("AcquisitionNumber", 2.0),)) for f in frames
    ]
    assert _counts(split(frames + copies)) == [8]


def test_a_slice_that_lost_its_position_stays_with_its_stack(make: Any, shuffled: Shuffle) -> None:
    lost = {"position": None, "row": None, "column": None}
    frames = [*make.stack(*FOUR), make.frame(**lost), make.frame(position=None)]
    assert _counts(split(shuffled(frames))) == [6]


def test_localizers_captures_and_colour_pages_are_set_aside(make: Any, shuffled: Shuffle) -> None:
    nowhere = {"position": None, "row": None, "column": None}
    frames = make.stack(*FOUR)
    frames.append(make.frame(20, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), **CORONAL))
    frames.append(make.frame(**nowhere, samples=3, photometric="RGB"))
    frames.append(make.frame(**nowhere, sop_class="1.2.840.10008.5.1.4.1.1.7"))
    aside = {s.aside: len(s.frames) for s in split(shuffled(frames))}
    assert aside == {"": 4, "localizer": 1, "colour-page": 1, "secondary-capture": 1}


def test_what_is_set_aside_can_be_chosen_by_name_and_is_all_there_is_without_a_scan(make: Any) -> None:
    page = split([make.frame(series_uid="1.7", position=None, samples=3, photometric="RGB")])
    scan = split(make.stack(*FOUR))
    assert choose(Path("scan"), Listing(scan, page), None) is scan[0]
    assert choose(Path("scan"), Listing(scan, page), "1.7") is page[0]
    assert choose(Path("scan"), Listing((), page), None) is page[0]
    with pytest.raises(UsageError, match="series=2 is not there"):
        choose(Path("scan"), Listing(scan, page), 2)


def test_a_series_is_chosen_by_number_or_identifier(make: Any) -> None:
    found = split(
        make.stack(*FOUR, echo=1.0) + make.stack(*FOUR, echo=2.0) + make.stack(0, 1, series_uid="1.7")
    )
    listing = Listing(found)
    assert choose(Path("scan"), listing, 2) is choose(Path("scan"), listing, "2") is found[1]
    assert choose(Path("scan"), listing, "1.2.3#2") is found[1]
    assert choose(Path("scan"), listing, "1.7") is found[2]
    refusal = _refusal(found, series="1.2.3")
    assert refusal.code == "several-series"
    assert "1.7" not in str(refusal)


def test_the_list_in_a_message_has_an_end(make: Any) -> None:
    frames = [make.frame(series_uid=f"1.{n}") for n in range(100)]
    message = str(_refusal(split(frames)))
    assert "100 series" in message
    assert "and 80 more" in message


@pytest.mark.parametrize(
    "odd",
    [
        {"position": np.array([1e308, -1e308, 0])},
        {"position": np.array([np.nan, 0, np.inf])},
        {"row": np.zeros(3)},
        {"row": np.array([1e308, 1e308, 1e308])},
        {"column": np.array([0.96, 0.28, 0.0])},
        {"pixel_spacing": (1e308, -1e308)},
        {"echo": 1e308},
        {"b_value": -1e308},
        {"moment": (("TriggerTime", float("nan")),)},
        {"thickness": 1e308},
    ],
)
def test_senseless_numbers_are_sorted_without_a_word(make: Any, odd: dict[str, Any]) -> None:
    stacks = [make.stack(*FOUR), make.stack(*FOUR, echo=1e300), make.stack(*FOUR, b_value=-1e300)]
    frames = [*(f for frames in stacks for f in frames), *make.stack(0, 1, **odd), make.frame(**odd)]
    found = split(frames)
    assert sum(_counts(found)) == len(frames)
    for series in found:
        placed = stack(series.frames, frozenset({"missing-slices", "uneven-spacing"}))
        assert placed.faults or np.isfinite(placed.affine).all()


def test_ten_thousand_slices_are_sorted_in_a_moment(make: Any) -> None:
    frames = []
    for n in range(10_000):
        moment = (("AcquisitionNumber", float(n % 1000 // 500)),)
        frames.append(make.frame(0.5 * (n % 500), series_uid=f"1.{n // 1000}", moment=moment))
    begin = time.process_time()
    found = split(frames)
    assert _counts(found) == [500] * 20
    assert time.process_time() - begin < 10


def test_a_thousand_directions_do_not_take_forever(make: Any) -> None:
    angles = np.linspace(0, 3, 3000)
    frames = [
        make.frame(row=np.array([np.cos(a), np.sin(a), 0]), column=np.array([0, 0, 1.0])) for a in angles
    ]
    assert sum(_counts(split(frames))) == 3000


def test_a_last_volume_that_broke_off_does_not_hide_the_others(make: Any, shuffled: Shuffle) -> None:
    volumes = [
        make.stack(*FOUR[: 4 if t < 3 else 2], moment=(("TemporalPositionIdentifier", float(t)),))
        for t in range(4)
    ]
    found = split(shuffled([f for volume in volumes for f in volume]))
    assert _counts(found) == [4, 4, 4, 2]
    assert _refusal(found).code == "four-dimensional"


def test_an_object_with_more_frames_than_it_describes_is_a_film(make: Any) -> None:
    (film,) = split([make.frame(frames=30)])
    assert film.fault is not None
    assert film.fault.code == "multi-frame"
    image = make.image(frames=4)
    (whole,) = split([make.frame(2.5 * n, image=image, number=n) for n in range(4)])
    assert whole.fault is None


def test_a_mosaic_without_places_is_refused_by_name(make: Any) -> None:
    kind = ("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC")
    (lost,) = split([make.frame(image_type=kind, position=None, row=None, column=None)])
    assert lost.fault is not None
    assert lost.fault.code == "mosaic"
    tiles = [make.frame(2.5 * n, image_type=kind, tile=(0, 7 * n, 5, 7)) for n in range(4)]
    assert split(tiles)[0].fault is None
