"""From a parsed DICOM header to its frames: which slices it holds, where they lie, what tells them apart.

What decides about places and values is read strictly: a field that contradicts itself raises `BadHeader`.
What only helps to tell repeats apart, or is used for lone slices, counts as absent where it is malformed.
Source: DICOM PS3.3, sections C.7.6.2, C.7.6.3, C.7.6.16, C.8.13, C.8.15.3.9 and C.8.20.
"""

from __future__ import annotations

import math
import re

from medseg.io.dicom import contrast, tags
from medseg.io.dicom.elements import BadHeader, DataSet, Parsed
from medseg.io.dicom.kinds import MODALITIES, PHOTOMETRIC, set_aside_code
from medseg.io.dicom.mosaic import is_mosaic, split_mosaic
from medseg.io.dicom.objects import Frame, SetAside, Source, StoredImage, Vector
from medseg.io.dicom.settings import kernel_of, settings_of

_WORD = re.compile(r"[A-Z0-9_\- ]*")
_STACK = re.compile(r"[A-Za-z0-9_\-]{1,16}")
_FRAME_TYPES = (
    tags.MRImageFrameTypeSequence, tags.CTImageFrameTypeSequence, tags.PETFrameTypeSequence,
)  # fmt: skip
_SETTINGS = (
    tags.CTXRayDetailsSequence, tags.CTReconstructionSequence, tags.MRTimingAndRelatedParametersSequence,
    tags.MRModifierSequence,
)  # fmt: skip
_MACROS = (
    tags.PlanePositionSequence, tags.PlaneOrientationSequence, tags.PixelMeasuresSequence,
    tags.PixelValueTransformationSequence, tags.FrameContentSequence, tags.MREchoSequence,
    tags.MRDiffusionSequence, tags.TemporalPositionSequence, tags.CardiacSynchronizationSequence,
    tags.SegmentIdentificationSequence, *_SETTINGS, *_FRAME_TYPES,
)  # fmt: skip
_Groups = dict[int, DataSet | None]


def frames_of(source: Source, parsed: Parsed) -> tuple[Frame, ...] | SetAside:
    """The slices of an object, or why it is set aside.

    An object of several frames that says nothing about each of them, such as a cine loop, gives one frame,
    and its `StoredImage.frames` tells how many there are. A mosaic that cannot be taken apart gives one
    without a position. A segmentation gives its frames too: who looks for scans asks `set_aside_code`.

    Raises
    ------
    BadHeader
        What decides about places or values is malformed or contradicts itself.
    """
    dataset = parsed.dataset
    code = object_kind(parsed)
    if code is not None and code != "segmentation":
        return SetAside(code, source)
    if parsed.pixels_at is None and (tags.Rows not in dataset or tags.Columns not in dataset):
        return SetAside("not-an-image", source)
    image = _stored_image(parsed)
    described = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    if described:
        return _enhanced_frames(image, dataset, described)
    frame = _classic_frame(image, dataset)
    return split_mosaic(dataset, frame) if is_mosaic(dataset, frame) else (frame,)


def object_kind(parsed: Parsed) -> str | None:
    """The code under which an object is set aside because of its class, None for images."""
    sop_class = parsed.dataset.uid(tags.SOPClassUID) or parsed.meta.uid(tags.MediaStorageSOPClassUID)
    return set_aside_code(sop_class, parsed.dataset.text(tags.Modality))


def _stored_image(parsed: Parsed) -> StoredImage:
    dataset = parsed.dataset
    modality = dataset.text(tags.Modality)
    photometric = dataset.text(tags.PhotometricInterpretation) or "MONOCHROME2"
    number = contrast.number_or_none(dataset, tags.SeriesNumber)
    return StoredImage(
        source=parsed.source,
        sop_class=dataset.uid(tags.SOPClassUID) or parsed.meta.uid(tags.MediaStorageSOPClassUID),
        sop_uid=dataset.uid(tags.SOPInstanceUID),
        series_uid=dataset.uid(tags.SeriesInstanceUID),
        series_number=None if number is None else int(number),
        frame_of_reference=dataset.uid(tags.FrameOfReferenceUID),
        transfer_syntax=parsed.transfer_syntax,
        modality=modality if modality in MODALITIES else None,
        rows=_count(dataset, tags.Rows),
        columns=_count(dataset, tags.Columns),
        frames=_count(dataset, tags.NumberOfFrames, 1),
        samples=_count(dataset, tags.SamplesPerPixel, 1),
        planar=dataset.integer(tags.PlanarConfiguration) or 0,
        photometric=photometric if photometric in PHOTOMETRIC else "",
        bits=_bits(dataset),
        pixels_at=parsed.pixels_at,
        pixels_length=parsed.pixels_length,
        lossy=dataset.text(tags.LossyImageCompression) == "01",
        patient=_digest(dataset, tags.PatientID),
        study=_digest(dataset, tags.StudyInstanceUID),
        series=None
        if dataset.text(tags.SeriesInstanceUID) is None
        else _digest(dataset, tags.SeriesInstanceUID),
    )


def _digest(dataset: DataSet, tag: int) -> int:
    # Python's own hash has a key that is drawn for each process: nobody can find the patient from it.
    return hash((dataset.value(tag) or b"").strip(b" \0"))


def _count(dataset: DataSet, tag: int, default: int | None = None) -> int:
    found = dataset.integer(tag)
    if found is None:
        found = default
    if found is None or not 1 <= found < 1 << 31:
        raise BadHeader(f"{tags.keyword(tag)} is {found}, expected a whole number from 1 on")
    return found


def _bits(dataset: DataSet) -> tuple[int, int, int, bool]:
    allocated = _count(dataset, tags.BitsAllocated)
    stored = _count(dataset, tags.BitsStored, allocated)
    high = dataset.integer(tags.HighBit)
    high = stored - 1 if high is None else high
    signed = dataset.integer(tags.PixelRepresentation) or 0
    if not (stored <= allocated <= 64 and stored - 1 <= high < allocated and signed in (0, 1)):
        raise BadHeader(
            f"{allocated} bits allocated, {stored} stored, {high} the highest, representation {signed}: "
            "these contradict each other"
        )
    return allocated, stored, high, signed == 1


def _classic_frame(image: StoredImage, dataset: DataSet) -> Frame:
    image_type = _image_type(dataset, tags.ImageType)
    row, column = _orientation(dataset)
    slope, intercept = _rescale(dataset)
    spacing = dataset.numbers(tags.PixelSpacing, 2)
    detector = None if spacing is None else _detector_spacing(dataset)
    is_mr = image.modality == "MR"
    return Frame(
        image=image,
        position=dataset.numbers(tags.ImagePositionPatient, 3),
        row=row,
        column=column,
        pixel_spacing=_pair(spacing),
        # A detector's own spacing, copied, says nothing about sizes in the patient.
        spacing_measured=spacing is not None and detector != _pair(spacing),
        thickness=contrast.number_or_none(dataset, tags.SliceThickness),
        step=contrast.number_or_none(dataset, tags.SpacingBetweenSlices),
        slope=slope,
        intercept=intercept,
        has_lookup_table=tags.ModalityLUTSequence in dataset,
        image_type=image_type,
        echo=contrast.number_or_none(dataset, tags.EchoTime),
        b_value=contrast.b_value(dataset) if is_mr else None,
        component=contrast.component_of(dataset, image_type) if is_mr else "",
        settings=settings_of(dataset),
        kernel=kernel_of(dataset),
        moment=contrast.object_moment(dataset),
    )


def _enhanced_frames(
    image: StoredImage, dataset: DataSet, described: tuple[DataSet, ...]
) -> tuple[Frame, ...]:
    if len(described) != image.frames:
        raise BadHeader(f"NumberOfFrames is {image.frames}, but {len(described)} frames are described")
    common = dataset.items(tags.SharedFunctionalGroupsSequence)
    shared = _groups(common[0]) if common else {}
    dimensions = contrast.dimension_pointers(dataset)
    image_type = _image_type(dataset, tags.ImageType)
    frames = []
    for number, item in enumerate(described):
        groups = {**shared, **_groups(item)}
        frames.append(_enhanced_frame(image, number, dataset, groups, image_type, dimensions))
    return tuple(frames)


def _groups(item: DataSet) -> _Groups:
    """The functional groups of one item that the reader knows."""
    return {tag: (item.items(tag) or (None,))[0] for tag in _MACROS if tag in item}


def _enhanced_frame(
    image: StoredImage,
    number: int,
    dataset: DataSet,
    groups: _Groups,
    image_type: tuple[str, ...],
    dimensions: tuple[int, ...],
) -> Frame:
    place, orientation = groups.get(tags.PlanePositionSequence), groups.get(tags.PlaneOrientationSequence)
    measures, content = groups.get(tags.PixelMeasuresSequence), groups.get(tags.FrameContentSequence)
    kind = next((groups[tag] for tag in _FRAME_TYPES if groups.get(tag) is not None), None)
    own_type = () if kind is None else _image_type(kind, tags.FrameType)
    row, column = (None, None) if orientation is None else _orientation(orientation)
    slope, intercept = _rescale(groups.get(tags.PixelValueTransformationSequence) or dataset)
    diffusion = groups.get(tags.MRDiffusionSequence)
    segment = groups.get(tags.SegmentIdentificationSequence)
    stack = None if content is None else content.text(tags.StackID)
    return Frame(
        image=image,
        number=number,
        position=None if place is None else place.numbers(tags.ImagePositionPatient, 3),
        row=row,
        column=column,
        pixel_spacing=None if measures is None else _pair(measures.numbers(tags.PixelSpacing, 2)),
        thickness=contrast.number_or_none(measures, tags.SliceThickness),
        step=contrast.number_or_none(measures, tags.SpacingBetweenSlices),
        slope=slope,
        intercept=intercept,
        has_lookup_table=tags.ModalityLUTSequence in dataset,
        image_type=own_type or image_type,
        echo=contrast.number_or_none(groups.get(tags.MREchoSequence), tags.EffectiveEchoTime),
        b_value=contrast.number_or_none(diffusion, tags.DiffusionBValue),
        component=contrast.component_of(kind, own_type or image_type) if image.modality == "MR" else "",
        settings=settings_of(*(groups.get(tag) for tag in _SETTINGS), dataset),
        kernel=kernel_of(groups.get(tags.CTReconstructionSequence) or dataset),
        stack=stack if stack is not None and _STACK.fullmatch(stack) else "",
        moment=contrast.frame_moment(
            content,
            groups.get(tags.TemporalPositionSequence),
            groups.get(tags.CardiacSynchronizationSequence),
            dimensions,
        ),
        segment=None if segment is None else segment.integer(tags.ReferencedSegmentNumber),
    )


def _orientation(dataset: DataSet) -> tuple[Vector, Vector] | tuple[None, None]:
    both = dataset.numbers(tags.ImageOrientationPatient, 6)
    return (None, None) if both is None else (both[:3], both[3:])


def _pair(numbers: Vector | None) -> tuple[float, float] | None:
    return None if numbers is None else (float(numbers[0]), float(numbers[1]))


def _detector_spacing(dataset: DataSet) -> tuple[float, float] | None:
    try:
        return _pair(dataset.numbers(tags.ImagerPixelSpacing, 2))
    except BadHeader:
        return None


def _rescale(dataset: DataSet) -> tuple[float, float]:
    """Slope and intercept; NaN where one is malformed or the slope 0."""
    try:
        slope, intercept = dataset.number(tags.RescaleSlope), dataset.number(tags.RescaleIntercept)
    except BadHeader:
        return math.nan, math.nan
    return (1.0 if slope is None else slope or math.nan), intercept or 0.0


def _image_type(dataset: DataSet, tag: int) -> tuple[str, ...]:
    words = (word.upper() for word in dataset.words(tag))
    return tuple(word if _WORD.fullmatch(word) else "" for word in words)
