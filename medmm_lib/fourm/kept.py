"""The model that chapter 03 left, and studies as the tokens it reads, for other chapters."""

from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

from medmm_lib.fourm.modalities import REGISTRY, Row
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.text import TextTokeniser
from medmm_lib.fourm.tokens import Tokenisers, Tokens


def kept(folder: Path, studies: Iterable[Row], *, side: int, patch: int) -> tuple[FourM, Tokens]:
    """The trained model of the chapter's `folder`, and the patches and texts of studies as its tokens.

    `side` and `patch` (pixels) are those that the chapter ran with. Grids of codes are left out: their tokenisers are
    not kept. Raises `FileNotFoundError` where there is no model.
    """
    place = folder / "model"
    if not place.is_dir():
        raise FileNotFoundError(f"{folder} holds no model: run chapter 03_fourm_pretraining first")
    with redirect_stdout(None):  # the hub's mixin prints where it reads from
        model = FourM.from_pretrained(place).eval()
    most = {name: space.places for name, space in model.shape.spaces.items() if space.kind == "sequence"}
    names = [name for name in model.shape.names if REGISTRY[name].kind != "dense"]
    tokenisers = Tokenisers(names, TextTokeniser.read(place), {}, side=side, patch=patch, most=most)
    return model, tokenisers.encode(studies)
