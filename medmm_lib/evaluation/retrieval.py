"""Retrieval: at which rank a query finds what belongs to it, when a gallery holds the same item more than once."""

from collections.abc import Sequence

import numpy as np

from medmm_lib.evaluation.intervals import Estimate, interval, mean

CUTS = (1, 5, 10)
CHANCE_RUNS = 10  # random scores that the chance level is the mean of


def ranks(similarity: np.ndarray, query_keys: Sequence, gallery_keys: Sequence) -> np.ndarray:
    """The rank of the right item for every query, 1 is best: [Q].

    `similarity` is [Q, G]. Items with the same key are the same item (a caption that several images share): the best of
    them counts, once, so that copies do not push others down. An item with more copies has more chances to score high,
    which is why `retrieval_metrics` measures what chance gives. Items that score the same as the right one share the
    ranks between them, so a constant score ranks in the middle. Raises `ValueError` for a query whose key the
    gallery lacks and for similarities that are not finite.
    """
    better, tied = _places(similarity, query_keys, gallery_keys)
    return 1 + better + (tied - 1) / 2


def _places(similarity: np.ndarray, query_keys: Sequence, gallery_keys: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """For every query, how many items score higher than the right one, and how many the same, itself counted."""
    similarity = np.asarray(similarity, dtype=float)
    if similarity.shape != (len(query_keys), len(gallery_keys)):
        raise ValueError(f"similarity is {similarity.shape}, expected {(len(query_keys), len(gallery_keys))}")
    if not np.isfinite(similarity).all():
        raise ValueError("similarity holds values that are not finite")
    keys = list(dict.fromkeys(gallery_keys))
    place = {key: number for number, key in enumerate(keys)}
    missing = [key for key in query_keys if key not in place]
    if missing:
        raise ValueError(f"the gallery has nothing for the query {missing[0]!r}")
    columns = np.array([place[key] for key in gallery_keys])
    best = np.full((len(similarity), len(keys)), -np.inf)
    np.maximum.at(best, (slice(None), columns), similarity)
    right = best[np.arange(len(best)), [place[key] for key in query_keys]][:, None]
    return (best > right).sum(1), (best == right).sum(1)


def retrieval_metrics(
    similarity: np.ndarray, query_keys: Sequence, gallery_keys: Sequence, groups: Sequence, *, seed: int = 0
) -> dict[str, Estimate | float]:
    """R@1, R@5 and R@10 with intervals over `groups` (each query's patient), the median rank, and what chance gives.

    Where items score the same as the right one, a recall counts the share of their orders that put it within the cut.
    `chance_r_at_k` is the recall of the same queries with random scores, which copies in the gallery raise.
    """
    rng = np.random.default_rng(seed)
    recalls = _recalls(similarity, query_keys, gallery_keys)
    chance = [_recalls(rng.random(np.shape(similarity)), query_keys, gallery_keys) for _ in range(CHANCE_RUNS)]
    found = {f"r_at_{cut}": interval(mean(recalls[cut]), groups, seed=seed) for cut in CUTS}
    found |= {f"chance_r_at_{cut}": float(np.mean([run[cut] for run in chance])) for cut in CUTS}
    median = float(np.median(ranks(similarity, query_keys, gallery_keys)))
    return found | {"median_rank": median, "gallery_items": float(len(set(gallery_keys)))}


def _recalls(similarity: np.ndarray, query_keys: Sequence, gallery_keys: Sequence) -> dict[int, np.ndarray]:
    better, tied = _places(similarity, query_keys, gallery_keys)
    return {cut: np.clip((cut - better) / tied, 0, 1) for cut in CUTS}
