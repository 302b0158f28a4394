"""A scan out of a DICOM file: grey values as a viewer shows them, and nothing that says whose they are.

Of all its tags only those named in `read` are looked at, so that no name, number or date of a patient gets any further.
"""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medmm_lib.data.loaded import DataError
from medmm_lib.data.pictures import too_large

# DICOM's → the schema's
MODALITIES = {"CT": "CT", "MR": "MR", "CR": "XR", "DX": "XR", "RG": "XR", "MG": "XR", "US": "US"}
_NO_PICTURES = ("RTDOSE", "SEG", "PR", "KO", "SR", "REG", "RWV")  # may hold numbers in the form of pixels
MOST_FRAMES = 10_000  # a film of an ultrasound has 60 a second; of all frames only one is decoded
_FRONT, _SIDE = ("AP", "PA"), ("LL", "RL", "LATERAL")  # View Position
_REGIONS = {
    "Head": ("HEAD", "BRAIN", "SKULL", "NECK", "ORBIT", "FACE"),
    "Thorax": ("CHEST", "THORAX", "LUNG", "HEART", "BREAST"),
    "Abdomen": ("ABDOMEN", "LIVER"), "Reproductive and Urinary System": ("PELVIS", "KIDNEY", "BLADDER", "PROSTATE"),
    "Spine and Muscles": ("SPINE", "KNEE", "SHOULDER", "HIP", "ANKLE", "WRIST", "ELBOW", "HAND", "FOOT", "EXTREMITY"),
}  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """A picture in 256 greys and what is known of it, in the schema's words.

    `frame`: which of how many pictures in its file, from 1 on; `stored`: columns and rows of the picture in its file;
    `names_in_picture`: the file says that text on the patient is part of the picture, or is of a kind that often has
    some and doesn't say; `drawn`: it is no real scan.
    """

    image: Image.Image
    modality: str | None = None
    plane: str | None = None
    location_category: str | None = None
    frame: tuple[int, int] | None = None
    names_in_picture: bool = False
    drawn: bool = False
    stored: tuple[int, int] | None = None


def read(path: str | Path) -> Scan:
    """The picture in a DICOM file.

    Values are rescaled (Modality LUT) and windowed (the first VOI LUT or window; without one, the middle 99 % of
    values). Of several frames the middle one is taken, and `frame` says so. Raises DataError for files that are no
    DICOM, hold no picture, claim an absurd size, or are compressed in a way that no installed decoder reads.
    """
    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            # pydicom would inflate it whole, whatever it grows to, before its size could be looked at.
            raise DataError(f"{path} is deflated as a whole, which is not read; `dcmconv +te` of DCMTK undoes it")
        dataset = pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise DataError(f"{path} is no DICOM file; expected one, a PNG or a JPEG") from error
    modality, kind = dataset.get("Modality"), dataset.get("SOPClassUID")
    if "PixelData" not in dataset or modality in _NO_PICTURES:
        name = getattr(kind, "name", None) or modality or "unknown"
        raise DataError(f"{path} holds no picture (its kind is {name}); expected a CT, MR, X-ray or ultrasound")
    try:
        frames = _checked_frames(dataset)
        greys = _greys(pixel_array(dataset, index=frames // 2 if frames > 1 else None), dataset)
        shown = _upright(greys, dataset)
    except (RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(f"the picture in {path} can't be decoded: {error}") from error
    return Scan(
        shown, MODALITIES.get(str(modality)), _plane(dataset),
        _region(str(dataset.get("BodyPartExamined") or "")), (frames // 2 + 1, frames) if frames > 1 else None,
        _names_in_picture(dataset), stored=greys.size,
    )  # fmt: skip


def _checked_frames(dataset: pydicom.Dataset) -> int:
    """The number of pictures. Raises `DataError` for absurd sizes, before anything is decoded."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    if problem := too_large(int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)):
        raise DataError(problem)
    if frames > MOST_FRAMES:
        raise DataError(f"it claims {frames:,} frames; at most {MOST_FRAMES:,} are read")
    return frames


def _greys(pixels: np.ndarray, dataset: pydicom.Dataset) -> Image.Image:
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        return _coloured(pixels, 8 * pixels.itemsize)
    if pixels.ndim == 3:  # colour, as of an ultrasound
        return _coloured(pixels, int(dataset.BitsStored))
    inside = pixels != dataset.get("PixelPaddingValue")
    values = apply_modality_lut(pixels, dataset)
    if dataset.get("VOILUTSequence"):
        values = apply_voi_lut(values, dataset)
        low, high = 0.0, 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif all(dataset.get(name) not in (None, "") for name in ("WindowCenter", "WindowWidth")):  # often there, but empty
        centre, width = (float(np.ravel(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        less = 0 if dataset.get("VOILUTFunction") == "LINEAR_EXACT" else 1  # PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2
        low, high = centre - width / 2, centre + width / 2 - less
    else:
        low, high = np.quantile(values[inside] if inside.any() else values, [0.005, 0.995])
    scaled = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 1 - scaled
    return Image.fromarray(np.round(255 * scaled).astype(np.uint8))


def _coloured(pixels: np.ndarray, bits: int) -> Image.Image:
    """[H, W, 3] of so many bits as greys."""
    return Image.fromarray(np.round(pixels * (255 / (2**bits - 1))).astype(np.uint8)).convert("L")


def _upright(image: Image.Image, dataset: pydicom.Dataset) -> Image.Image:
    """With square pixels, where the file says how large its pixels are."""
    spacing = [float(value) for value in np.ravel(dataset.get("PixelSpacing") or ())]
    if len(spacing) != 2 or not all(map(isfinite, spacing)) or min(spacing) <= 0 or spacing[0] == spacing[1]:
        return image
    size = image.width, max(1, round(image.height * spacing[0] / spacing[1]))
    if problem := too_large(*size):
        raise DataError(f"with its pixels made square, {problem}")
    return image.resize(size)


def _plane(dataset: pydicom.Dataset) -> str | None:
    if len(axes := dataset.get("ImageOrientationPatient") or ()) == 6:
        normal = np.abs(np.cross(np.array(axes[:3], float), np.array(axes[3:], float)))
        return ("sagittal", "coronal", "axial")[int(normal.argmax())]
    view = str(dataset.get("ViewPosition") or "").upper()
    return "frontal" if view in _FRONT else "lateral" if view in _SIDE else None


def _names_in_picture(dataset: pydicom.Dataset) -> bool:
    told = str(dataset.get("BurnedInAnnotation") or "").upper()
    often = dataset.get("Modality") in ("US", "ES", "XC", "OT", "SC") or "SECONDARY" in (dataset.get("ImageType") or ())
    return told == "YES" or (told != "NO" and often)


def _region(part: str) -> str | None:
    return next((name for name, words in _REGIONS.items() if any(word in part.upper() for word in words)), None)
