"""Studies as tokens: all tokenisers of a data set together, and the tokens of a split, kept on disk.

A cached file is named by a hash of the tokenisers, of the data's fingerprint and of the split, so that tokens of other
tokenisers or data are never read.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

from medmm_lib import paths, sources
from medmm_lib.fourm.modalities import REGISTRY, Modality, Row
from medmm_lib.fourm.shape import Space
from medmm_lib.fourm.text import TextTokeniser
from medmm_lib.fourm.vq import VQTokeniser


@dataclass(frozen=True)
class Tokens:
    """A split as tokens. Rows [N, L_m] int32, padded; `lengths` [N]: how many are held, 0 where a study has no such
    modality. `pixels` [N, places, values] uint8 for modalities that are patches, whose tokens are place numbers."""

    ids: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    pixels: dict[str, torch.Tensor]

    def __len__(self) -> int:
        """How many studies."""
        return len(next(iter(self.lengths.values())))

    def rows(self, at: torch.Tensor) -> "Tokens":
        """Some rows [n]."""
        return Tokens(*({name: values[at] for name, values in part.items()} for part in vars(self).values()))

    def only(self, *names: str) -> "Tokens":
        """Some modalities."""
        return Tokens(*({name: part[name] for name in names if name in part} for part in vars(self).values()))

    def given(self, *names: str) -> dict[str, torch.Tensor]:
        """Modalities as `FourM.generate` takes them: −1 where a study holds nothing, pixels in −1 to 1."""
        whole = {
            name: torch.where(torch.arange(rows.shape[1]) < self.lengths[name][:, None], rows, -1)
            for name, rows in self.ids.items()
        }
        return {name: as_input(self.pixels[name]) if name in self.pixels else whole[name] for name in names}

    @staticmethod
    def joined(parts: "list[Tokens]") -> "Tokens":
        """Splits under each other; they have the same modalities."""
        fields = ([getattr(part, field) for part in parts] for field in ("ids", "lengths", "pixels"))
        return Tokens(*({name: torch.cat([part[name] for part in field]) for name in field[0]} for field in fields))


class Tokenisers:
    """What turns studies into tokens and tokens into pictures and texts.

    `modalities` are names of the registry (or more entries of one's own in `registry`); `visual` holds a VQ tokeniser
    for each vocabulary that is not text or pixels; `most` the longest text of each modality, in tokens with its end.
    """

    def __init__(
        self,
        modalities: Iterable[str],
        text: TextTokeniser,
        visual: dict[str, VQTokeniser],
        *,
        side: int,
        patch: int,
        most: dict[str, int],
        registry: dict[str, Modality] = REGISTRY,
    ) -> None:
        self.entries = {name: registry[name] for name in sorted(modalities)}
        self.text, self.visual, self.side, self.patch, self.most = text, visual, side, patch, most

    @property
    def codebooks(self) -> dict[str, torch.Tensor]:
        """The codes of each VQ vocabulary [codes, code width]."""
        return {name: tokeniser.codebook.codebook.detach() for name, tokeniser in self.visual.items()}

    @property
    def spaces(self) -> dict[str, Space]:
        """What a model must know of the modalities."""
        return {name: self._space(name, entry) for name, entry in self.entries.items()}

    def _space(self, name: str, entry: Modality) -> Space:
        grid = (self.side // self.patch,) * 2
        if entry.kind == "patches":
            return Space("patches", entry.vocabulary, self.patch**2, grid)
        if entry.kind == "sequence":
            start, end = self.text.first_sentinel, self.text.end
            return Space("sequence", entry.vocabulary, self.text.size, (1, self.most[name]), start, end)
        shape = self.visual[entry.vocabulary].shape
        return Space("dense", entry.vocabulary, shape.codes, (shape.grid, shape.grid))

    @property
    def hash(self) -> str:
        """A hash of everything that tokens depend on: vocabularies, weights, sizes, and the code that reads studies."""
        digest = hashlib.sha256(self.text.tokeniser.to_str().encode())
        for name, tokeniser in sorted(self.visual.items()):
            for key, value in sorted(tokeniser.state_dict().items()):
                digest.update(f"{name}.{key}".encode() + value.contiguous().numpy().tobytes())
        files = sources.library_files("import medmm_lib.fourm.tokens, medmm_lib.fourm.views")
        reading = [path.read_text(encoding="utf-8") for path in files]
        settings = [self.side, self.patch, self.most, list(self.entries), reading]
        return sources.json_hash([digest.hexdigest(), settings])

    def encode(self, studies: Iterable[Row]) -> Tokens:
        """The tokens of studies. Texts longer than `most` are cut, keeping their end token off: the rest is unknown."""
        read: dict[str, list] = {name: [] for name in self.entries}
        for study in studies:
            for name, entry in self.entries.items():
                read[name].append(entry.read(study, self.side))
        ids, lengths, pixels = {}, {}, {}
        for name, entry in self.entries.items():
            raw = read[name]
            if entry.kind == "sequence":
                ids[name], lengths[name] = self._texts(raw, self.most[name])
                continue
            there = torch.tensor([value is not None for value in raw])
            pictures = _stack(raw, self.side)
            if entry.kind == "patches":
                pixels[name] = to_patches(pictures, self.patch)
                ids[name] = torch.arange(pixels[name].shape[1], dtype=torch.int32).expand(len(raw), -1).contiguous()
            else:
                ids[name] = self.visual[entry.vocabulary].encode(pictures)
            lengths[name] = there * ids[name].shape[1]
        return Tokens(ids, lengths, pixels)

    def _texts(self, texts: list[str | None], most: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [[] if text is None else self.text.encode(text)[:most] for text in texts]
        ids = torch.full((len(rows), most), self.text.pad, dtype=torch.int32)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
        return ids, torch.tensor([len(tokens) for tokens in rows])

    def decode(self, name: str, ids: torch.Tensor) -> list[np.ndarray] | list[str]:
        """Pictures [side, side] uint8 or texts of the tokens [N, L] of one modality."""
        entry = self.entries[name]
        if entry.kind == "sequence":
            return [self.text.decode(row) for row in ids.tolist()]
        if entry.kind == "patches":
            raise ValueError(f"{name} is given as pixels, not as tokens: there is nothing to decode")
        return list(self.visual[entry.vocabulary].decode(ids).numpy())

    def cached(self, studies: Callable[[], Iterable[Row]], folder: Path, fingerprint: str) -> Tokens:
        """The tokens of a split, from `folder` when they are there; else `studies` is called for its studies.

        `fingerprint` says which data and split it is.
        """
        file = folder / f"{sources.json_hash([self.hash, fingerprint])}.safetensors"
        if not file.is_file():
            tokens = self.encode(studies())
            flat = {f"{field}/{name}": rows for field, part in vars(tokens).items() for name, rows in part.items()}
            paths.write_atomically(file, save(flat))
        parts: dict[str, dict[str, torch.Tensor]] = {"ids": {}, "lengths": {}, "pixels": {}}
        for key, rows in load_file(file).items():
            field, _, name = key.partition("/")
            parts[field][name] = rows
        return Tokens(**parts)


def as_input(pixels: torch.Tensor) -> torch.Tensor:
    """Patches uint8 as the model reads them: −1 to 1."""
    return pixels.float() / 127.5 - 1


def to_patches(pictures: torch.Tensor, patch: int) -> torch.Tensor:
    """[N, side, side] → [N, places, patch · patch], row by row."""
    grid = pictures.shape[1] // patch
    tiles = pictures.unflatten(2, (grid, patch)).unflatten(1, (grid, patch))  # [N, rows, patch, columns, patch]
    return tiles.transpose(2, 3).flatten(3).flatten(1, 2).contiguous()


def _stack(pictures: list[np.ndarray | None], side: int) -> torch.Tensor:
    """[N, side, side] uint8; nothing where there is no picture."""
    nothing = np.zeros((side, side), np.uint8)
    return torch.from_numpy(np.stack([nothing if picture is None else picture for picture in pictures]))
