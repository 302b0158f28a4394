"""The shape of a model: its modalities, its size, and what can be chosen about it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Space:
    """What a model must know of a modality.

    `kind` is `patches` (pixels, input only), `dense` (a grid of tokens) or `sequence` (text). Tokens are numbers from 0
    to `vocabulary_size` − 1 of the vocabulary called `vocabulary`; for patches, `vocabulary_size` is values a patch.
    `grid` holds rows and columns of a grid, (1, longest) of a text. A text is predicted from the token `start` on, the
    first sentinel, up to the token `end`.
    """

    kind: Literal["patches", "dense", "sequence"]
    vocabulary: str
    vocabulary_size: int
    grid: tuple[int, int]
    start: int = 0
    end: int = 0

    @property
    def places(self) -> int:
        """How many tokens a sample holds at most."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class FourMShape:
    """Everything that decides which weights a model has.

    `heads` query heads share `kv_heads` key and value heads: as many of both is multi-head attention, one multi-query,
    anything between grouped-query. `embeddings`: "per modality" gives every modality token embeddings and an output
    layer of its own; "unified" has one table and one softmax over all vocabularies together, so that modalities of one
    vocabulary share their embeddings.
    """

    spaces: dict[str, Space]
    width: int = 128
    encoder_layers: int = 2
    decoder_layers: int = 2
    heads: int = 4
    kv_heads: int = 4
    mlp_ratio: int = 4
    embeddings: Literal["per modality", "unified"] = "per modality"

    def __post_init__(self) -> None:
        """Take spaces from JSON too, and check what does not fit together. Raises ValueError that names it."""
        spaces = {
            n: s if isinstance(s, Space) else Space(**s | {"grid": tuple(s["grid"])}) for n, s in self.spaces.items()
        }
        object.__setattr__(self, "spaces", spaces)
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"width {self.width}, heads {self.heads}, kv_heads {self.kv_heads}: expected heads that divide the "
                "width and kv_heads that divide the heads"
            )
        if self.width % 4:
            raise ValueError(f"width is {self.width}; expected a multiple of 4, for 2D sine–cosine positions")
        if self.embeddings not in ("per modality", "unified"):
            raise ValueError(f"embeddings is {self.embeddings!r}; expected 'per modality' or 'unified'")

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities in the order of their indices: sorted by name, as masking has it."""
        return tuple(sorted(self.spaces))

    def table(self, name: str) -> str:
        """Whose token embeddings a modality uses."""
        return name if self.embeddings == "per modality" else self.spaces[name].vocabulary

    def of_kind(self, kind: str) -> list[str]:
        """The modalities of a kind, in order."""
        return [name for name in self.names if self.spaces[name].kind == kind]


# Width, encoder layers, decoder layers, heads. 4M's own start at `base`, which it calls B.
SIZES = {"tiny": (128, 2, 1, 4), "small": (256, 4, 4, 4), "medium": (512, 8, 8, 8), "base": (768, 12, 12, 12)}


def sized(spaces: dict[str, Space], size: str, **changes: float | str) -> FourMShape:
    """The shape of a named size, multi-head unless `kv_heads` is given. Raises ValueError for an unknown name."""
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; expected {', '.join(SIZES)}")
    width, encoder, decoder, heads = SIZES[size]
    shape = {"width": width, "encoder_layers": encoder, "decoder_layers": decoder, "heads": heads, "kv_heads": heads}
    return FourMShape(spaces, **(shape | changes))
