"""Pseudo-labels: maps computed from the image alone, for data that has none. 4M labels its own data this way, with
networks; these are classical and say nothing that the pixels do not.

`tissue`: the body is what Otsu's threshold (1979) and hole filling leave of the smoothed image; inside it, two more
thresholds (multi-Otsu, Liao et al. 2001) part dark, medium and bright tissue. `edges`: Canny (1986).
"""

import numpy as np
from scipy import ndimage
from skimage import feature, filters

TISSUES = ["background", "dark tissue", "medium tissue", "bright tissue"]


def body(image: np.ndarray) -> np.ndarray:
    """Where the body is: [H, W] bool, from a grey image [H, W] uint8. The largest bright part, holes filled."""
    smooth = filters.gaussian(image.astype(float), sigma=1.0)
    if np.ptp(smooth) < 1:
        return np.zeros(image.shape, bool)
    # Half of Otsu's threshold: soft tissue next to bright bone would fall below it.
    parts, count = ndimage.label(smooth > filters.threshold_otsu(smooth) / 2)
    if not count:
        return np.zeros(image.shape, bool)
    largest = 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1))))
    return ndimage.binary_fill_holes(parts == largest)


def tissue(image: np.ndarray) -> np.ndarray:
    """The map of `TISSUES` [H, W] uint8 of a grey image [H, W] uint8."""
    inside = body(image)
    values = image[ndimage.binary_erosion(inside, iterations=2)]  # the skin's edge is half background
    if len(np.unique(values)) < 3:
        return inside.astype(np.uint8)
    thresholds = filters.threshold_multiotsu(values, classes=3)
    return np.where(inside, 1 + np.digitize(image, thresholds, right=True), 0).astype(np.uint8)


def edges(image: np.ndarray) -> np.ndarray:
    """1 on edges [H, W] uint8 of a grey image [H, W] uint8."""
    return feature.canny(image.astype(float) / 255, sigma=1.0).astype(np.uint8)
