"""BERTScore: how alike the contextual embeddings of two texts are. On demand, as it needs a language model."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer


@torch.no_grad()
def bert_scores(predictions: Sequence[str], references: Sequence[str], model: str) -> np.ndarray:
    """F1 of BERTScore (Zhang et al. 2020, arXiv:1904.09675, equation 3, without weights) of every pair: [N].

    `model` is a name on the hub, such as `microsoft/deberta-base-mnli`, or a folder; its last layer counts, not
    the layer that the paper chose for each model. Scores of different models can't be compared. An empty text scores 0.
    Pairs are computed one by one: torchmetrics 1.9, which batches them, mixes them up (its issue 2728).
    """
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model, use_safetensors=True)
    network.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def embedded(text: str) -> torch.Tensor:
        """The tokens' embeddings, of length 1, without special tokens: [tokens, width]."""
        read = tokenizer(text, return_tensors="pt", truncation=True, return_special_tokens_mask=True)
        special = read.pop("special_tokens_mask")[0].bool()
        made = network(**read.to(network.device)).last_hidden_state[0].float().cpu()
        return F.normalize(made[~special], dim=-1)

    scores = []
    for pair in zip(predictions, references, strict=True):
        said, known = (embedded(text) for text in pair)
        if not len(said) or not len(known):
            scores.append(0.0)
            continue
        alike = said @ known.T
        precision, recall = alike.max(1).values.mean(), alike.max(0).values.mean()
        scores.append(float(2 * precision * recall / (precision + recall)))
    return np.array(scores)
