"""The model that chapter 03 left, and studies as the tokens it reads, for other chapters."""

from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

from datasets import DatasetDict

from medmm_lib import sources
from medmm_lib.fourm.experiment import Studies
from medmm_lib.fourm.modalities import REGISTRY, Row
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.text import TextTokeniser
from medmm_lib.fourm.tokens import Tokenisers, Tokens
from medmm_lib.fourm.views import views


def kept(folder: Path, studies: Iterable[Row], *, side: int, patch: int) -> tuple[FourM, Tokens]:
    """The trained model of the chapter's `folder`, and the patches and texts of studies as its tokens.

    `side` and `patch` (pixels) are those that the chapter ran with. Grids of codes are left out: their tokenisers are
    not kept. Raises `FileNotFoundError` where there is no model.
    """
    model, tokenisers = _kept(folder, side, patch)
    return model, tokenisers.encode(studies)


def kept_studies(
    folder: Path, parts: DatasetDict, cache: Path, *, fingerprint: str, side: int, patch: int, count: int, seed: int
) -> Studies:
    """Studies in `count` views each, as the tokens of the chapter's `folder`, to train other models on.

    Patches and texts alone, as of `kept`; tokens are kept in `cache`.
    """
    model, tokenisers = _kept(folder, side, patch)
    spaces = {name: space for name, space in model.shape.spaces.items() if name in tokenisers.entries}
    training = tokenisers.cached(
        lambda: (view for row in parts["train"] for view in views(row, count, seed)), cache,
        f"{fingerprint} train {count} {seed}",
    )  # fmt: skip
    validation, held_out = (
        tokenisers.cached(lambda split=split: parts[split], cache, f"{fingerprint} {split}")
        for split in ("validation", "test")
    )
    key = sources.json_hash([tokenisers.hash, fingerprint, count, seed])
    return Studies(
        spaces, tokenisers.text, {}, [training], [1.0], validation, held_out, parts["test"]["patient_id"], key
    )


def _kept(folder: Path, side: int, patch: int) -> tuple[FourM, Tokenisers]:
    place = folder / "model"
    if not place.is_dir():
        raise FileNotFoundError(f"{folder} holds no model: run chapter 03_fourm_pretraining first")
    with redirect_stdout(None):  # the hub's mixin prints where it reads from
        model = FourM.from_pretrained(place).eval()
    most = {name: space.places for name, space in model.shape.spaces.items() if space.kind == "sequence"}
    names = [name for name in model.shape.names if REGISTRY[name].kind != "dense"]
    tokenisers = Tokenisers(names, TextTokeniser.read(place), {}, side=side, patch=patch, most=most)
    return model, tokenisers
