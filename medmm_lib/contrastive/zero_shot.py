"""Classes and captions that were only described: no label is learned from."""

from collections.abc import Callable, Sequence

import numpy as np

from medmm_lib.contrastive.labels import Labels

Embed = Callable[[Sequence[str]], np.ndarray]  # texts → [N, D] of length 1


def scores(images: np.ndarray, labels: Labels, embed: Embed) -> np.ndarray:
    """How much more alike each image is to a sentence that has a class than to those that lack it: [N, C].

    `images` [N, D] of length 1. Only their order within a class means something.
    """
    columns = []
    for name in labels.names:
        own, others = labels.sentences[name]
        embedded = embed([own, *others])
        columns.append(images @ (embedded[0] - embedded[1:].mean(0)))
    return np.stack(columns, 1)
