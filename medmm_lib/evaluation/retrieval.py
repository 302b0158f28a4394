"""Retrieval: at which rank a query finds what belongs to it, when a gallery holds the same item more than once."""

from collections.abc import Sequence

import numpy as np

from medmm_lib.evaluation.intervals import Estimate, interval, mean

CUTS = (1, 5, 10)


def ranks(similarity: np.ndarray, query_keys: Sequence, gallery_keys: Sequence) -> np.ndarray:
    """The rank of the right item for every query, 1 is best: [Q].

    `similarity` is [Q, G]. Items with the same key are the same item (a caption that several images share): the best of
    them counts, once, so that copies neither help nor push others down. Items that score the same as the right one
    share the ranks between them, so a constant score ranks in the middle. Raises `ValueError` for a query whose key the
    gallery lacks and for similarities that are not finite.
    """
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
    return 1 + (best > right).sum(1) + ((best == right).sum(1) - 1) / 2


def retrieval_metrics(
    similarity: np.ndarray, query_keys: Sequence, gallery_keys: Sequence, groups: Sequence, *, seed: int = 0
) -> dict[str, Estimate | float]:
    """R@1, R@5 and R@10 with intervals over `groups` (each query's patient), the median rank, and what chance gives.

    `chance_r_at_k` is k over the number of distinct items.
    """
    found = ranks(similarity, query_keys, gallery_keys)
    distinct = len(set(gallery_keys))
    recalls = {f"r_at_{cut}": interval(mean(found <= cut), groups, seed=seed) for cut in CUTS}
    chance = {f"chance_r_at_{cut}": min(1.0, cut / distinct) for cut in CUTS}
    return recalls | chance | {"median_rank": float(np.median(found)), "gallery_items": float(distinct)}
