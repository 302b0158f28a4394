"""What of an image an answer depends on: attention rollout, and gradient × attention, through both towers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isqrt
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, BatchFeature

from medmm_lib import device
from medmm_lib.evaluation.explained import RANDOM, Explained
from medmm_lib.evaluation.rollout import gradient_rollout, log_odds, rollout
from medmm_lib.vlm.collator import IGNORED, Collator
from medmm_lib.vlm.training import Rows

KINDS = ("rollout", "gradient × attention")
TOWERS = {"vision_tower": "vision", "language_model": "language"}
BATCH = 16  # questions at once: all attention of a batch is in memory


def explained(model: nn.Module, collator: Collator, rows: Rows, base: str) -> Explained:
    """Maps of N questions' images by a model and by one of the same `base` with random weights, as of `maps`, and the
    score that they explain: the log-odds of the reference answer's tokens, their mean.

    Images are scaled to what the model sees.
    """
    torch.manual_seed(RANDOM)
    random = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(base))
    size = collator.processor.image_processor.size
    seen = [{**row, "image": row["image"].convert("RGB").resize((size["width"], size["height"]))} for row in rows]
    answers = [row["answer"] for row in rows]

    @torch.no_grad()
    def score(n: int, images: np.ndarray) -> np.ndarray:
        scores, told, asked, _ = _told(model, collator, [{**seen[n], "image": Image.fromarray(one)} for one in images])
        return ((log_odds(scores, told) * asked).sum(1) / asked.sum(1)).cpu().numpy()

    both = [maps(one, collator, seen, answers) for one in (model, random.to(next(model.parameters()).device))]
    images = np.stack([np.asarray(row["image"]) for row in seen])
    return Explained("the log-odds of the right answer", images, [row["patient_id"] for row in rows], *both, score)


def maps(model: nn.Module, collator: Collator, rows: Rows, answers: Sequence[str]) -> dict[str, np.ndarray]:
    """Saliency maps of images by kind: [N, grid, grid] of the image's tokens.

    `answers` are explained, whoever gave them, each as the answer to its row's question. What the answer's tokens read
    in the language model is followed to the image's tokens, and from there through the vision tower to its patches.
    `gradient × attention` follows what raises the scores of the answer's tokens. Its end is no evidence.
    """
    told = [{**row, "answer": text} for row, text in zip(rows, answers, strict=True)]
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    with _attention_kept(model) as kept:
        for start in range(0, len(told), BATCH):
            for kind, values in zip(KINDS, _of_batch(model, collator, told[start : start + BATCH], kept), strict=True):
                found[kind].append(values)
    whole = {kind: np.concatenate(parts) for kind, parts in found.items()}
    grid = isqrt(next(iter(whole.values())).shape[1])
    return {kind: values.reshape(-1, grid, grid) for kind, values in whole.items()}


def _of_batch(
    model: nn.Module, collator: Collator, rows: Sequence[Mapping[str, Any]], kept: dict[str, list[torch.Tensor]]
) -> list[np.ndarray]:
    """Both kinds: [B, image tokens]."""
    model.eval()
    for part in kept.values():
        part.clear()
    scores, told, asked, batch = _told(model, collator, rows)
    seen, read = kept["vision"], kept["language"]
    slopes = torch.autograd.grad((scores.gather(-1, told[..., None])[..., 0] * asked).sum(), [*seen, *read])
    vision, vision_slope, language, language_slope = (
        torch.stack(list(part), 1).detach().float().cpu().numpy()
        for part in (seen, slopes[: len(seen)], read, slopes[len(seen) :])
    )  # [B, layers, heads, N, N]
    words = asked.float().cpu().numpy()
    words /= words.sum(1, keepdims=True).clip(1)
    image = (batch["input_ids"] == collator.processor.image_token_id).cpu().numpy()
    rolled, raised = [], []
    for k, shares in enumerate(words):
        at, where = np.append(shares, 0), image[k]  # the state before a token is the one that predicts it
        rolled.append((at @ rollout(language[k]))[where] @ rollout(vision[k]))
        slope = gradient_rollout(language[k], language_slope[k])
        raised.append((at @ slope)[where] @ gradient_rollout(vision[k], vision_slope[k]))
    return [np.stack(rolled), np.stack(raised)]


def _told(
    model: nn.Module, collator: Collator, rows: Sequence[Mapping[str, Any]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, BatchFeature]:
    """Scores [B, T − 1, vocabulary], the next tokens [B, T − 1], which of these are the answer's, and the batch."""
    batch = collator(rows).to(next(model.parameters()).device)
    labels = batch.pop("labels")[:, 1:]
    batch["pixel_values"].requires_grad_(True)  # so that there is a slope, also where no weight is trained
    with device.autocast(model):
        scores = model(**batch, use_cache=False).logits[:, :-1].float()
    asked = (labels != IGNORED) & (labels != collator.processor.tokenizer.eos_token_id)
    return scores, labels.clamp(min=0), asked, batch


@contextmanager
def _attention_kept(model: nn.Module) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Attention after the softmax of every layer of both towers, [B, heads, N, N] each, while this is open.

    Only transformers' plain attention gives it; the model has its own again afterwards.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kept: dict[str, list[torch.Tensor]] = {name: [] for name in TOWERS.values()}
    hooks = []
    for path, module in model.named_modules():
        tower = next((name for part, name in TOWERS.items() if f".{part}." in path), None)
        if tower and path.endswith(".self_attn"):
            hooks.append(module.register_forward_hook(lambda _, __, made, tower=tower: kept[tower].append(made[1])))
    usual = base.config._attn_implementation
    base.set_attn_implementation("eager")
    try:
        yield kept
    finally:
        base.set_attn_implementation(usual)
        for hook in hooks:
            hook.remove()
