"""What kind of object a DICOM file is, by its SOP class; the code lists that are taken over from headers.

Source: DICOM PS3.4, annex B.5 (storage classes), PS3.3, sections C.7.3.1.1.1 and C.7.6.3.1.2.
"""

from __future__ import annotations

_STORAGE = "1.2.840.10008.5.1.4.1.1."
DIRECTORY = "1.2.840.10008.1.3.10"

# What is no image to read as a scan, by SOP class; a class that ends in a dot stands for all that begin so.
_SET_ASIDE = {
    DIRECTORY: "directory",
    f"{_STORAGE}88.67": "dose-report",
    f"{_STORAGE}88.68": "dose-report",
    f"{_STORAGE}88.74": "dose-report",
    f"{_STORAGE}88.76": "dose-report",
    f"{_STORAGE}88.": "report",
    f"{_STORAGE}11.": "report",
    f"{_STORAGE}104.": "report",
    f"{_STORAGE}66.4": "segmentation",
    f"{_STORAGE}66.7": "segmentation",
    f"{_STORAGE}66": "not-an-image",
    f"{_STORAGE}66.": "not-an-image",
    f"{_STORAGE}67": "not-an-image",
    f"{_STORAGE}4.2": "not-an-image",
    f"{_STORAGE}481.2": "dose",
    f"{_STORAGE}481.3": "structure-set",
    **{f"{_STORAGE}481.{n}": "plan" for n in (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)},
    f"{_STORAGE}77.1.6": "whole-slide",
    f"{_STORAGE}9.": "waveform",
    f"{_STORAGE}91.": "not-an-image",
}
# The same where a file does not tell its class.
_SET_ASIDE_MODALITIES = {
    "SEG": "segmentation", "RTSTRUCT": "structure-set", "RTDOSE": "dose", "RTPLAN": "plan",
    "RTRECORD": "plan", "SR": "report", "PR": "report", "KO": "report", "DOC": "report", "AU": "waveform",
    "ECG": "waveform", "EEG": "waveform", "HD": "waveform", "ANN": "not-an-image", "REG": "not-an-image",
    "FID": "not-an-image", "RWV": "not-an-image", "PLAN": "plan", "SM": "whole-slide",
}  # fmt: skip

MODALITIES = frozenset(
    ("ANN", "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CFM", "CR", "CS", "CT", "CTPROTOCOL", "DD", "DF",
     "DG", "DM", "DMS", "DOC", "DS", "DX", "EC", "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FA", "FID",
     "FS", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LP", "LS", "MA", "MG",
     "MR", "MS", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT",
     "PA", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT",
     "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "ST",
     "STAIN", "TEXTUREMAP", "TG", "US", "VA", "VF", "XA", "XAPROTOCOL", "XC")
)  # fmt: skip
PHOTOMETRIC = frozenset(
    ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420",
     "YBR_ICT", "YBR_RCT", "PALETTE COLOR", "HSV", "ARGB", "CMYK", "XYB")
)  # fmt: skip


def set_aside_code(sop_class: str, modality: str | None) -> str | None:
    """The code under which an object is set aside because it is no image, see `objects.SetAside`."""
    if not sop_class:
        return _SET_ASIDE_MODALITIES.get(modality or "")
    if sop_class in _SET_ASIDE:
        return _SET_ASIDE[sop_class]
    return next(
        (code for known, code in _SET_ASIDE.items() if known[-1] == "." and sop_class.startswith(known)), None
    )
