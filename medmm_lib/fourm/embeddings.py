"""From tokens to vectors and back: 4M's modality-specific embeddings (Mizrahi et al. 2023, section 2.1).

A token's vector is what it says, plus where it stands (fixed sine–cosine), plus which modality it is of (learned). The
output layer of a modality is its own token embeddings.
"""

import itertools
import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from medmm_kernels import Encoder
from medmm_lib.fourm.shape import FourMShape

# Words carry the meaning of a text more than their places do: their embeddings start larger and their positions are
# scaled down. With 4M's start (0.02 and 1 for all), a small model learned its captions several times slower (journal).
TEXT_STD, OTHER_STD = 0.1, 0.02
CODE_STD = 0.1  # of embeddings that start as the codes of a VQ tokeniser
TEXT_POSITIONS = 0.2


def sine_cosine(grid: tuple[int, int], width: int) -> torch.Tensor:
    """Fixed position embeddings [places, width]: 1D for one row (Vaswani et al. 2017), else half for each side.

    Wavelengths go from two places to twice the longer side. The usual ones, 6 to 60,000 places, were made for long
    texts: on a grid of 8 × 8 neighbours look alike in them.
    """
    longest = max(*grid, 2)

    def one(places: torch.Tensor, width: int) -> torch.Tensor:
        omega = math.pi * torch.linspace(0, -math.log(longest), width // 2).exp()
        angles = places[:, None] * omega
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    rows, columns = (torch.arange(float(side)) for side in grid)
    if grid[0] == 1:
        return one(columns, width)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return torch.cat([one(row.flatten(), width // 2), one(column.flatten(), width // 2)], dim=1)


class Embeddings(nn.Module):
    """Token, position and modality embeddings of all modalities, each kind in one table for one look-up a batch."""

    def __init__(self, shape: FourMShape) -> None:
        super().__init__()
        self.shape = shape
        width, spaces, names = shape.width, shape.spaces, shape.names
        patches = shape.of_kind("patches")
        rows = {shape.table(name): spaces[name].vocabulary_size for name in names if name not in patches}
        self.tokens = nn.ParameterDict({table: torch.empty(rows[table], width) for table in sorted(rows)})
        self.modalities = nn.ParameterDict({name: torch.empty(width) for name in names})
        self.asked = nn.ParameterDict({name: torch.empty(width) for name in shape.of_kind("dense")})
        self.patches = nn.ModuleDict({name: nn.Linear(spaces[name].vocabulary_size, width) for name in patches})

        first_of_table = dict(zip(self.tokens, _starts(self.tokens.values()), strict=True))
        positions = [self._positions(name) for name in names]
        places = {
            "positions": torch.cat(positions),
            "first_position": torch.tensor(_starts(positions)),
            "first_token": torch.tensor([first_of_table.get(shape.table(name), 0) for name in names]),
            "is_patches": torch.tensor([name in patches for name in names]),
            "is_dense": torch.tensor([name in self.asked for name in names]),
        }
        for name, value in places.items():
            self.register_buffer(name, value, persistent=False)

    def _positions(self, name: str) -> torch.Tensor:
        space, width = self.shape.spaces[name], self.shape.width
        if space.kind == "sequence":  # a masked text has sentinels on top of its tokens
            return TEXT_POSITIONS * sine_cosine((1, 2 * (space.places + 1)), width)
        return sine_cosine(space.grid, width)

    @torch.no_grad()
    def reset(self) -> None:
        """Draw the embeddings anew."""
        texts = {self.shape.table(name) for name in self.shape.of_kind("sequence")}
        for table, embedding in self.tokens.items():
            nn.init.normal_(embedding, std=TEXT_STD if table in texts else OTHER_STD)
        for embedding in (*self.modalities.values(), *self.asked.values()):
            nn.init.normal_(embedding, std=OTHER_STD)

    @torch.no_grad()
    def start_from(self, codebooks: Mapping[str, torch.Tensor]) -> None:
        """Start the embeddings of VQ vocabularies from their codes [codes, code width], projected at random.

        Codes that draw alike then start alike, and what is learned of one is learned of its neighbours.
        """
        for name, space in self.shape.spaces.items():
            if space.vocabulary in codebooks:
                codes = codebooks[space.vocabulary].float()
                codes = (codes - codes.mean(0)) / codes.std(0).mean()
                projection = torch.randn(codes.shape[1], self.shape.width) * CODE_STD / math.sqrt(codes.shape[1])
                self.tokens[self.shape.table(name)].copy_(codes @ projection)

    def table(self) -> torch.Tensor:
        """All token embeddings under each other [rows, width]; modality m's begin at row `first_token[m]`."""
        return torch.cat(list(self.tokens.values()))

    def given(self, encoder: Encoder, patches: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the given tokens say and where they stand: twice [B, N, width]. `patches` [B, places, values]."""
        kind = encoder.modality.clamp(min=0)
        # The ids of patches are place numbers: they say nothing, and there may be fewer tokens than places.
        x = F.embedding(torch.where(self.is_patches[kind], 0, encoder.ids + self.first_token[kind]), self.table())
        for name, project in self.patches.items():
            mine = kind == self.shape.names.index(name)
            at = torch.where(mine, encoder.position, 0)[..., None].expand(-1, -1, patches[name].shape[-1]).long()
            x = torch.where(mine[..., None], project(patches[name].gather(1, at)).to(x.dtype), x)
        return x, self._places(kind, encoder.position)

    def queries(self, ids: torch.Tensor, modality: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Queries [B, T, width]: a text's read the token before, a grid's only know where they stand."""
        kind = modality.clamp(min=0)
        read = F.embedding(ids + self.first_token[kind], self.table())
        asked = torch.stack([self.asked[n] if n in self.asked else self.modalities[n] for n in self.shape.names])
        content = torch.where(self.is_dense[kind][..., None], F.embedding(kind, asked), read)
        return content + self._places(kind, position)

    def logits(self, decoded: torch.Tensor, name: str) -> torch.Tensor:
        """Scores [..., vocabulary size] of a modality's own tokens."""
        return decoded @ self.tokens[self.shape.table(name)].T

    def _places(self, kind: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        modality = torch.stack([self.modalities[name] for name in self.shape.names])
        return F.embedding(self.first_position[kind] + position, self.positions) + F.embedding(kind, modality)


def _starts(parts: Iterable[torch.Tensor]) -> list[int]:
    """At which row each part begins when they stand under each other."""
    return [0, *itertools.accumulate(map(len, parts))][:-1]
