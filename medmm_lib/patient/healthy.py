"""A healthy picture to lay beside a scan: of the same kind, plane and part of the body."""

from functools import cache

from PIL import Image

from medmm_lib.data import phantom
from medmm_lib.data.phantom.patients import draw_condition, draw_patient, split_of

SIZE, SEED = 256, 0
TRIED = 80  # drawn patients, among whom healthy ones are looked for
_REGIONS = {"Head": "brain", "Thorax": "chest", "Abdomen": "abdomen"}  # that the phantom draws


@cache
def healthy(modality: str | None, plane: str | None, location_category: str | None) -> tuple[Image.Image, str] | None:
    """A picture, and the name of what words.yml says of it; None where there is none like it.

    Brains in MR are the ICBM 152 average of healthy people, everything else is drawn.
    """
    films = modality == "XR"
    for number in range(TRIED if location_category in _REGIONS and modality in ("CT", "MR", "XR") else 0):
        region, condition = draw_condition(number, split_of(number, SEED), SEED, films)
        if condition is not None or region != _REGIONS[str(location_category)]:
            continue
        patient = draw_patient(number, SIZE, SEED, films)
        for place, view in enumerate(patient.views):
            category = phantom.description(patient, place, "", "")["Location Category"]
            planes = ("frontal", "pa") if view.type == "XR" else (view.plane,)
            if (view.type, category) == (modality, location_category) and plane in planes and not patient.device:
                return Image.fromarray(view.picture.pixels), f"healthy_{'template' if modality == 'MR' else 'drawing'}"
    return None
