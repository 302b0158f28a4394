"""How much of an image or label map survives a tokeniser, beside ways that need none."""

import numpy as np
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

PEAK = 255


def psnr(known: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of grey images [N, H, W] uint8, dB: [N]. Infinite for a perfect copy."""
    with np.errstate(divide="ignore"):
        return np.array([peak_signal_noise_ratio(a, b, data_range=PEAK) for a, b in zip(known, made, strict=True)])


def ssim(known: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004) of grey images [N, H, W] uint8: [N]."""
    return np.array([structural_similarity(a, b, data_range=PEAK) for a, b in zip(known, made, strict=True)])


def iou(known: np.ndarray, made: np.ndarray, classes: int) -> np.ndarray:
    """Intersection over union of each class of label maps [N, H, W], over all their pixels: [classes].

    NaN for a class that none of them has.
    """
    values = np.full(classes, np.nan)
    for number in range(classes):
        either = ((known == number) | (made == number)).sum()
        if either:
            values[number] = ((known == number) & (made == number)).sum() / either
    return values


def pooled(pictures: torch.Tensor, patch: int) -> torch.Tensor:
    """What is left of grey images [N, H, W] uint8 when only the mean of each patch is kept, drawn smoothly."""
    means = F.avg_pool2d(pictures[:, None].float(), patch)
    drawn = F.interpolate(means, size=pictures.shape[1:], mode="bilinear", align_corners=False)
    return drawn[:, 0].round().clamp(0, PEAK).to(torch.uint8)


def nearest(pictures: torch.Tensor, training: torch.Tensor) -> torch.Tensor:
    """The training image that is nearest to each image, by squared error. [N, H, W], [M, H, W] uint8 → [N, H, W]"""
    return training[torch.cdist(pictures.flatten(1).float(), training.flatten(1).float()).argmin(1)]


def pooled_values(pictures: torch.Tensor, side: int) -> np.ndarray:
    """Grey images [N, H, W] uint8 as [N, side · side] values in 0 to 1, the means of their parts."""
    return F.adaptive_avg_pool2d(pictures[:, None].float() / PEAK, side).flatten(1).numpy()
