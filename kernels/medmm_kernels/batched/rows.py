"""Rows: shifted, sorted, and those of the encoder and the decoder under construction."""

import numpy as np
import torch

from medmm_kernels.batch import IGNORE, NO_MODALITY, NO_TOKEN

POSITION_BITS, TOKEN_SHIFT = 16, 32
LAST_POSITION = (1 << POSITION_BITS) - 1


def shifted(rows: torch.Tensor, edge: float | bool = False, left: bool = False) -> torch.Tensor:
    """Rows moved one column to the right (or left), `edge` coming in."""
    border = rows.new_full((len(rows), 1), edge)
    return torch.cat([rows[:, 1:], border] if left else [border, rows[:, :-1]], 1)


def sorted_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows in ascending order. On a CPU NumPy sorts them in vector instructions, several times faster than PyTorch."""
    if rows.device.type == "cpu" and not torch.compiler.is_compiling():
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return rows.sort(1).values


class Rows:
    """The rows of both sides next to each other: modality after modality, packed to the left.

    A place is one integer, token · 2^32 + (modality + 1) · 2^16 + position, so that one scatter writes it. A last
    column takes what is not chosen.
    """

    def __init__(self, n_in: torch.Tensor, queries: torch.Tensor, widths: tuple[int, int]) -> None:
        """n_in, queries [B, M]: how many places a modality takes; widths of the encoder's and the decoder's rows."""
        batch, device, self.width = len(n_in), n_in.device, widths[0]
        self.nowhere = sum(widths)
        self.places = torch.full((batch, self.nowhere + 1), NO_TOKEN << TOKEN_SHIFT, dtype=torch.int64, device=device)
        self.places[:, self.width :] = IGNORE << TOKEN_SHIFT
        self.read = torch.zeros(batch, self.nowhere + 1, dtype=torch.int32, device=device)
        self.ends = queries.cumsum(1)
        self.begins = self.ends - queries
        self.shown_at = n_in.cumsum(1) - n_in  # [B, M]: the column where a modality begins
        self.asked_at = self.begins + self.width

    def write(self, m: int, columns: torch.Tensor, tokens: torch.Tensor, position: torch.Tensor) -> None:
        """Put tokens of modality m at columns. All [B, N], position [N] or [B, N]."""
        places = (tokens.long() << TOKEN_SHIFT).add_(position + (m + 1 << POSITION_BITS))
        self.places.scatter_(1, columns, places)

    def fields(self, sequence: torch.Tensor) -> list[torch.Tensor]:
        """The fields of `batch.empty_fields`. sequence [M]: which modalities are texts."""
        low, tokens = self.places.view(torch.int32).unflatten(1, (-1, 2)).unbind(2)  # halves of a little-endian integer
        modality, position = (low >> POSITION_BITS) + NO_MODALITY, low & LAST_POSITION
        shown, asked = slice(0, self.width), slice(self.width, self.nowhere)
        known = modality[:, asked].clamp(min=0).long()
        valid = modality > NO_MODALITY
        place = torch.arange(known.shape[1], device=known.device)
        end = (self.ends * (1 - sequence)).gather(1, known).maximum(place + 1)  # text sees itself and what is before
        extent = [bound.int() * valid[:, asked] for bound in (self.begins.gather(1, known), end)]
        encoder = [field[:, shown] for field in (tokens, modality, position)]
        decoder = [self.read[:, asked], *(field[:, asked] for field in (tokens, modality, position)), *extent]
        return [torch.stack(encoder), valid[:, shown].contiguous(), torch.stack(decoder), valid[:, asked].contiguous()]
