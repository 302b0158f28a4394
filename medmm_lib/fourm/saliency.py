"""What of a scan a generated text depends on: attention rollout, and gradient × attention, through 4M's encoder."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from medmm_kernels import Decoder
from medmm_lib.evaluation.explained import RANDOM, Explained
from medmm_lib.evaluation.rollout import gradient_rollout, log_odds, rollout
from medmm_lib.fourm.generation import as_encoder
from medmm_lib.fourm.layers import Attend
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.tokens import Tokens, as_input, to_patches

KINDS = ("rollout", "gradient × attention")
BATCH = 32  # studies at once: all attention of a batch is in memory


def explained(model: FourM, tokens: Tokens, target: str, patients: Sequence[str]) -> Explained:
    """Maps of N studies by a model and by one with random weights, as of `maps`, and the score that they explain: the
    log-odds of the tokens of `target`, their mean, where only the scan is given."""
    torch.manual_seed(RANDOM)
    random = FourM(model.shape).to(model.context.weight.device)
    given = tokens.given("patches", target)
    text, grid = given[target], model.shape.spaces["patches"].grid
    patch = math.isqrt(tokens.pixels["patches"].shape[-1])
    rows = tokens.pixels["patches"].unflatten(-1, (patch, patch)).unflatten(1, grid)
    pictures = rows.transpose(2, 3).flatten(3).flatten(1, 2)  # [N, rows, columns, patch, patch] → [N, side, side]

    @torch.no_grad()
    def score(n: int, images: np.ndarray) -> np.ndarray:
        pixels = as_input(to_patches(torch.from_numpy(images), patch)).to(model.context.weight.device)
        same = text[n : n + 1].expand(len(pixels), -1).to(pixels.device)
        asked = _asked(model, target, same)
        odds = log_odds(_scores(model, "patches", pixels, target, same), same.clamp(min=0))
        return ((odds * asked).sum(1) / asked.sum(1)).cpu().numpy()

    both = [maps(one, "patches", given["patches"], target, text) for one in (model, random)]
    return Explained(f"the log-odds of its {target}", pictures.numpy(), list(patients), *both, score)


def maps(model: FourM, patches: str, pixels: torch.Tensor, target: str, tokens: torch.Tensor) -> dict[str, np.ndarray]:
    """Saliency maps of scans by kind: [N, rows, columns] of the grid of patches.

    `pixels` [N, places, values] are given as the modality `patches`; `tokens` [N, T] (−1 behind the end) are the text
    of the modality `target` that is explained. `rollout` says what the decoder's last layer read, through all of the
    encoder's attention; `gradient × attention` what raises the scores of its words (Chefer et al. 2021,
    arXiv:2103.15679, of cross-attention the direct part).
    """
    model.eval()
    place = model.context.weight.device
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for scans, texts in zip(pixels.split(BATCH), tokens.split(BATCH), strict=True):
        for kind, values in zip(
            KINDS, _of_batch(model, patches, scans.to(place), target, texts.to(place)), strict=True
        ):
            found[kind].append(values)
    return {kind: np.concatenate(parts).reshape(-1, *model.shape.spaces[patches].grid) for kind, parts in found.items()}


def _of_batch(model: FourM, patches: str, pixels: torch.Tensor, target: str, tokens: torch.Tensor) -> list[np.ndarray]:
    """Both kinds: [B, places]."""
    inside: list[torch.Tensor] = []  # attention [B, H, N, N] of each layer of the encoder
    across: list[torch.Tensor] = []  # attention [B, H, T, N] of each layer of the decoder to the encoder's output
    scores = _scores(model, patches, pixels, target, tokens, _kept(inside), _kept(across))
    valid = _asked(model, target, tokens)
    told = scores.gather(-1, tokens.clamp(min=0).long()[..., None])[..., 0]
    gradients = torch.autograd.grad((told * valid).sum(), [*inside, *across])
    inner, inner_slope = (_stacked(part) for part in (inside, gradients[: len(inside)]))  # [B, layers, H, N, N]
    outer, outer_slope = (_stacked(part) for part in (across, gradients[len(inside) :]))  # [B, layers, H, T, N]
    words = valid.float().cpu().numpy()
    words /= words.sum(1, keepdims=True).clip(1)
    pairs = list(zip(words, inner, inner_slope, outer, outer_slope, strict=True))
    rolled = [share @ cross[-1].mean(0) @ rollout(own) for share, own, _, cross, _ in pairs]
    raised = [
        share @ (cross * cross_slope).clip(min=0).mean(1).sum(0) @ gradient_rollout(own, slope)
        for share, own, slope, cross, cross_slope in pairs
    ]
    return [np.stack(rolled), np.stack(raised)]


def _asked(model: FourM, target: str, tokens: torch.Tensor) -> torch.Tensor:
    """Which tokens are explained: a text's own, as its end is no evidence."""
    return (tokens >= 0) & (tokens != model.shape.spaces[target].end)


def _scores(
    model: FourM, patches: str, pixels: torch.Tensor, target: str, tokens: torch.Tensor, inside: Attend | None = None,
    across: Attend | None = None,
) -> torch.Tensor:  # fmt: skip
    """The scores (logits) of every token of a text, those before it given: [B, T, vocabulary]."""
    space, kind = model.shape.spaces[target], model.shape.names.index(target)
    encoder, given = as_encoder(model, {patches: pixels})
    memory = model.remember(*model.encode(encoder, given, inside))
    read = torch.cat([torch.full_like(tokens[:, :1], space.start), tokens[:, :-1]], dim=1).clamp(min=0).int()
    position = torch.arange(tokens.shape[1], dtype=torch.int32, device=tokens.device).expand_as(tokens)
    queries = Decoder(
        read, tokens.clamp(min=0).int(), torch.full_like(read, kind), position, torch.zeros_like(position),
        position + 1, tokens >= 0,
    )  # fmt: skip
    decoded = model.decode(queries, memory, encoder.valid, across)
    return model.embeddings.logits(decoded, target).float()


def _kept(weights: list[torch.Tensor]) -> Attend:
    """Attention to everything that keeps its weights, one [B, H, T, N] a call."""

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        shared = q.shape[1] // k.shape[1]
        k, v = (part.repeat_interleave(shared, dim=1) for part in (k, v))
        weights.append((q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1))
        return weights[-1] @ v

    return attend


def _stacked(layers: list[torch.Tensor] | tuple[torch.Tensor, ...]) -> np.ndarray:
    """Layers of [B, H, T, N] → [B, layers, H, T, N]."""
    return torch.stack(list(layers), 1).detach().float().cpu().numpy()
