"""4M's model: one encoder–decoder for every modality (Mizrahi et al. 2023, section 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from medmm_kernels import Decoder, Encoder, MaskedBatch, segment_attention
from medmm_lib.fourm.embeddings import Embeddings
from medmm_lib.fourm.generation import generate
from medmm_lib.fourm.layers import Attend, Attention, DecoderLayer, EncoderLayer, Memory, attend_where
from medmm_lib.fourm.shape import FourMShape, Space


class Losses(NamedTuple):
    """What a masked batch costs. M modalities in the order of `FourMShape.names`."""

    loss: torch.Tensor  # mean over all target tokens, nats
    sums: torch.Tensor  # [B, M] nats
    counts: torch.Tensor  # [B, M] target tokens


class FourM(nn.Module, PyTorchModelHubMixin, tags=["4m", "multimodal"]):
    """One encoder–decoder for any subset of modalities in and any out."""

    def __init__(self, shape: FourMShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        layer = (width, shape.heads, shape.kv_heads, shape.mlp_ratio)
        self.embeddings = Embeddings(shape)
        self.encoder = nn.ModuleList(EncoderLayer(*layer) for _ in range(shape.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*layer) for _ in range(shape.decoder_layers))
        self.encoder_norm, self.decoder_norm = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.context = nn.Linear(width, width, bias=False)
        self.reset()

    def reset(self) -> None:
        """Draw all weights anew: Xavier for layers, with keys that start as queries."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        for module in self.modules():
            if isinstance(module, Attention):
                module.start_alike()
        self.embeddings.reset()

    def forward(self, masked: MaskedBatch, patches: dict[str, torch.Tensor]) -> Losses:
        """Losses of a masked batch. `patches` [B, places, values] are the pixels of modalities that are patches."""
        memory = self.remember(*self.encode(masked.encoder, patches))
        return self.losses(self.decode(masked.decoder, memory, masked.encoder.valid), masked.decoder)

    def encode(
        self, encoder: Encoder, patches: dict[str, torch.Tensor], attend: Attend | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's output for the given tokens, and their places: twice [B, N, width].

        `attend` takes the place of attention to all that is given.
        """
        x, place = self.embeddings.given(encoder, patches)
        x, attend = x + place, attend or attend_where(encoder.valid)
        for layer in self.encoder:
            x = layer(x, attend)
        return self.encoder_norm(x), place

    def remember(self, encoded: torch.Tensor, place: torch.Tensor) -> list[Memory]:
        """The keys and values that the decoder's layers attend to: what was given, and where it stood."""
        context = self.context(encoded) + place
        return [layer.cross.keys_values(context) for layer in self.decoder]

    def decode(
        self, decoder: Decoder, memory: list[Memory], given: torch.Tensor, attend_memory: Attend | None = None
    ) -> torch.Tensor:
        """The decoder's output [B, T, width] for the queries; `given` [B, N] says which places of the memory hold
        something. `attend_memory` takes the place of attention to those."""
        x = self.embeddings.queries(decoder.ids, decoder.modality, decoder.position)

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return segment_attention(q, k, v, decoder.start, decoder.end)

        for layer, keys_values in zip(self.decoder, memory, strict=True):
            x = layer(x, attend, keys_values, attend_memory or attend_where(given))
        return self.decoder_norm(x)

    def losses(self, decoded: torch.Tensor, decoder: Decoder) -> Losses:
        """Cross-entropy of the targets. Every token counts the same, whatever its modality and vocabulary.

        Unified embeddings are trained with one softmax over all vocabularies, but scored, as they generate, among the
        modality's own tokens.

        (4M's "per token" weighs a modality by its tokens × its vocabulary, which gives a caption 0.88 instead of 0.5 of
        the weight where caption and label map have ten tokens each.)
        """
        embeddings, names = self.embeddings, self.shape.names
        flat, targets, kind = decoded.flatten(0, 1), decoder.targets.flatten().long(), decoder.modality.flatten()
        nats = torch.zeros(len(flat), device=flat.device)
        if self.shape.embeddings == "unified" and self.training:
            at = (kind >= 0).nonzero()[:, 0]
            logits = flat[at] @ embeddings.table().T
            nats = nats.index_copy(0, at, _nats(logits, targets[at] + embeddings.first_token[kind[at]]))
        else:
            for m, name in enumerate(names):
                if self.shape.spaces[name].kind != "patches":
                    at = (kind == m).nonzero()[:, 0]
                    nats = nats.index_copy(0, at, _nats(embeddings.logits(flat[at], name), targets[at]))
        mine = F.one_hot(decoder.modality.long() + 1, len(names) + 1)[..., 1:]  # [B, T, M]
        counts, sums = mine.sum(1), (nats.view_as(decoder.targets)[..., None] * mine).sum(1)
        return Losses(nats.sum() / counts.sum().clamp(min=1), sums, counts)

    def generate(
        self,
        inputs: Mapping[str, torch.Tensor],
        target: str | Sequence[str],
        *,
        steps: int = 8,
        temperature: float = 0.0,
        seed: int = 0,
        cache: bool = True,
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Generate a modality, or several after each other, each given the ones before, from any others.

        `inputs`: tokens [B, L], −1 where nothing is given; of patches, pixels [B, places, values], −1 to 1. Grids are
        decoded in `steps` parallel steps, texts token by token; `cache` keeps keys and values of the tokens before.
        `temperature` 0 takes the likeliest token. → tokens [B, L] of `target`, by name when it is a list; texts are
        closed by their end token and filled up with −1.

        Raises ValueError for a modality that the model does not know, a token out of range, too long an input, a row
        without any, and a text that is both given and asked for.
        """
        targets = [target] if isinstance(target, str) else list(target)
        made = generate(self, inputs, targets, steps=steps, temperature=temperature, seed=seed, cache=cache)
        return made[target] if isinstance(target, str) else made

    def extended(self, spaces: dict[str, Space]) -> "FourM":
        """A model that knows more modalities: the same weights, frozen, and new ones for what is new, to be trained."""
        known = [name for name in spaces if name in self.shape.spaces]
        if known:
            raise ValueError(f"{', '.join(known)}: this model knows them already; expected new modalities")
        larger = FourM(replace(self.shape, spaces=self.shape.spaces | spaces)).to(self.context.weight.device)
        weights = self.state_dict()
        larger.load_state_dict(weights, strict=False)
        for name, parameter in larger.named_parameters():
            parameter.requires_grad_(name not in weights)
        return larger


def _nats(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.float(), targets, reduction="none")
