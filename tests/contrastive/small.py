"""Images so small and plain that encoders learn them within a test: bright squares, left or right, large or small."""

import numpy as np
import torch
from datasets import Dataset
from PIL import Image

from medmm_lib.contrastive.fitting import Schedule
from medmm_lib.contrastive.labels import Labels
from medmm_lib.contrastive.mae import MAE, MAEShape
from medmm_lib.contrastive.material import Material, Part

SHAPE = MAEShape(side=16, patch=4, width=32, layers=2, heads=4, decoder_width=32, decoder_layers=1)
NAMES = ["left", "large"]
SENTENCES = {"left": ("a square left", ["a square right"]), "large": ("a large square", ["a small square"])}


def squares(count=64, seed=0):
    """Images [count, 16, 16] uint8, and whether each square is left and large [count, 2]."""
    random = np.random.default_rng(seed)
    pixels, values = np.zeros((count, 16, 16), np.uint8), random.integers(0, 2, (count, 2)).astype(float)
    pixels += random.integers(0, 25, pixels.shape, dtype=np.uint8)
    for image, (left, large) in zip(pixels, values, strict=True):
        size = 7 if large else 3
        column, row = (1 if left else 8) + random.integers(0, 2), random.integers(1, 8)
        image[row : row + size, column : column + size] = 200 + random.integers(0, 50)
    return torch.from_numpy(pixels), values


def said(values):
    return [f"a {'large' if large else 'small'} square {'left' if left else 'right'}" for left, large in values]


def part(count, seed):
    pixels, values = squares(count, seed)
    return Part(pixels, values, list(said(values)), [f"p{seed}-{k // 2}" for k in range(count)])


def material():
    labels = Labels(NAMES, SENTENCES, ())
    return Material(part(64, 0), part(40, 2), labels, "squares")


def mae(seed=0):
    torch.manual_seed(seed)
    return MAE(SHAPE)


def schedule(**changes):
    return Schedule(**{"steps": 60, "batch_size": 16, "learning_rate": 5e-3, "seed": 0} | changes)


def questions(count=64, seed=0):
    """Rows as of `medmm_lib.data.asked`: is the square left, and how large is it?"""
    pixels, values = squares(count, seed)
    rows = []
    for k, (left, large) in enumerate(values):
        own = {"image_id": f"i{seed}-{k}", "patient_id": f"p{seed}-{k // 2}", "type": "finding"}
        rows.append(own | {"question": "Is the square left?", "answer": "Yes" if left else "No"})
        rows.append(own | {"question": "How large is it?", "answer": "large" if large else "small"})
    return pixels, Dataset.from_list(rows), [f"i{seed}-{k}" for k in range(count)]


def pictures(pixels):
    return [Image.fromarray(one.numpy()) for one in pixels]
