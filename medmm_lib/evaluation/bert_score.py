"""BERTScore: how alike the contextual embeddings of two texts are. Optional, as it needs a language model."""

from collections.abc import Sequence

import numpy as np


def bert_scores(predictions: Sequence[str], references: Sequence[str], model: str) -> np.ndarray:
    """F1 of BERTScore (Zhang et al. 2020, arXiv:1904.09675, equation 3) of every pair, by a model's last layer: [N].

    `model` is a name on the hub, such as `microsoft/deberta-base-mnli`, or a folder. An empty prediction scores 0.
    Scores of different models can't be compared. Raises `ImportError` where torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.text import bert_score
    except ImportError as error:
        raise ImportError("BERTScore needs torchmetrics: pip install --editable '.[scores]'") from error
    told = [k for k, text in enumerate(predictions) if text.strip()]
    scores = np.zeros(len(predictions))
    if told:
        made = bert_score([predictions[k] for k in told], [references[k] for k in told], model_name_or_path=model)
        scores[told] = np.atleast_1d(made["f1"].numpy())
    return scores
