"""A model and tokens small enough to train within a test."""

import torch

from medmm_lib.fourm import FourM, FourMShape, Space
from medmm_lib.fourm.mixture import mask_spec
from medmm_lib.fourm.tokens import Tokens

WORDS, START, SENTINELS, END = 60, 40, 20, 1
SPACES = {
    "patches": Space("patches", "pixels", 16, (4, 4)),
    "image": Space("dense", "image", 30, (4, 4)),
    "map": Space("dense", "map", 12, (4, 4)),
    "caption": Space("sequence", "text", WORDS, (1, 12), START, END),
    "boxes": Space("sequence", "text", WORDS, (1, 8), START, END),
}


def model(seed=0, spaces=SPACES, **shape):
    torch.manual_seed(seed)
    return FourM(FourMShape(spaces, **({"width": 32, "heads": 4, "kv_heads": 4} | shape)))


def tokens(rows=8, seed=0, spaces=SPACES):
    """Random studies; texts end with their end token and have different lengths."""
    random = torch.Generator().manual_seed(seed)
    ids, lengths, pixels = {}, {}, {}
    for name, space in spaces.items():
        places = space.places
        if space.kind == "patches":
            pixels[name] = torch.randint(0, 256, (rows, places, space.vocabulary_size), generator=random).to(
                torch.uint8
            )
            ids[name] = torch.arange(places, dtype=torch.int32).repeat(rows, 1)
        elif space.kind == "dense":
            ids[name] = torch.randint(0, space.vocabulary_size, (rows, places), generator=random).int()
        else:
            ids[name] = torch.randint(2, START, (rows, places), generator=random).int()
        lengths[name] = torch.full((rows,), places)
        if space.kind == "sequence":
            lengths[name] = torch.randint(2, places + 1, (rows,), generator=random)
            ids[name][torch.arange(rows), lengths[name] - 1] = END
    return Tokens(ids, lengths, pixels)


MIXTURE = ("0.5: patches -> any", "0.5: any -> any")


def spec(spaces=SPACES, inputs=(12, 24), targets=(20, 40), mixture=MIXTURE, **options):
    return mask_spec(spaces, START, SENTINELS, mixture=mixture, inputs=inputs, targets=targets, **options)
