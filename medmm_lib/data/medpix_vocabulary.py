"""The words of MedPix 2.0 and what they become in the schema: placeholders, planes, sequences.

Every entry was met in the data. A text that stands in no table is kept as it is and counted as `unmapped`.
"""

import re

# Texts that mean that nothing was written. Compared without case, punctuation and repeated spaces.
PLACEHOLDERS = frozenset(
    """
    n/a|na|n/c|nc|none|unknown|not known|not applicable|not entered|not provided|not reported|not reported by author
    not provided by author|none provided|none available|none given|unavailable|hx not provided|no information provided
    no exam or lab findings available|no follow up available for this case|no references provided
    no references were submitted by author|no spicific discussion for this case|some discussion|to follow|pending
    in progress|see factoid|please see factoid|please see factiod|please see factoid for discussion
    see factoid discussion|see topic|please see topic|see discussion|see web address|same|left blank
    replace this description of the image or findings|nos not specified
    """.strip()
    .replace("\n", "|")
    .replace("    ", "")
    .split("|")
)

# Entries that are well-formed but no body part.
NOT_A_LOCATION = frozenset({"bethesda md"})

PLANES = {
    "Axial": "axial",
    "Transverse": "axial",
    "Coronal": "coronal",
    "Sagittal": "sagittal",
    "Frontal": "frontal",
    "AP": "frontal",
    "PA": "frontal",
    "Lateral": "lateral",
    "Other View (see caption)": "other",
    "Multiple or Montage": "montage",
    "3D Reconstruction": "3d reconstruction",
    "Photograph": "photograph",
    "Gross Pathology": "pathology",
    "Drawing": "drawing",
}

# MedPix's `Modality` → (`sequence`, `plane` that it implies whatever the field `Plane` says).
SEQUENCES: dict[str, tuple[str | None, str | None]] = {
    "CT": (None, None),
    "CT - noncontrast": ("no contrast", None),
    "CT w/contrast (IV)": ("IV contrast", None),
    "CT - GI & IV Contrast": ("GI and IV contrast", None),
    "CT - GI Contrast": ("GI contrast", None),
    "CTA - CT Angiography": ("angiography", None),
    "CT - Montage": (None, "montage"),
    "CT - Montage of Images": (None, "montage"),
    "Virtual Colonoscopy": (None, "3d reconstruction"),
    "Drawing": (None, "drawing"),
    "MR": (None, None),
    "MRI": (None, None),
    "MR - T1W - noncontrast": ("T1", None),
    "MR - T1W w/Gadolinium": ("T1 with gadolinium", None),
    "MR - T1W w/Gd (fat suppressed)": ("T1 with gadolinium, fat suppressed", None),
    "MR - T2 weighted": ("T2", None),
    "MR T2* gradient,GRE,MPGR,SWAN,SWI": ("T2*", None),
    "MR - FLAIR": ("FLAIR", None),
    "MR - STIR": ("STIR", None),
    "MR - PDW Proton Density": ("proton density", None),
    "MR - DWI Diffusion Weighted": ("DWI", None),
    "MR - ADC Map (App Diff Coeff)": ("ADC", None),
    "MR - FIESTA": ("FIESTA", None),
    "MRA - MR Angiography/Venography": ("angiography", None),
    "MRS - Spectroscopy": ("spectroscopy", None),
    "MR - Other Pulse Seq.": ("other", None),
    "MR - Montage": (None, "montage"),
    "MR - Montage of Images": (None, "montage"),
    "XR - Plain Film": (None, None),
}


def is_placeholder(text: str) -> bool:
    """Whether `text` only says that nothing was written.

    >>> is_placeholder("Please see factoid."), is_placeholder("None required")
    (True, False)
    """
    return _bare(text) in PLACEHOLDERS or not _bare(text)


def is_no_location(text: str) -> bool:
    """Whether a `Location` names no part of the body."""
    return _bare(text) in NOT_A_LOCATION


def _bare(text: str) -> str:
    return " ".join(re.sub(r"[^\w/ ]|_", " ", text.casefold()).split())
