"""CLIPs of the hub, such as PubMedCLIP, on our split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from transformers import CLIPModel, CLIPProcessor

from medmm_lib.contrastive.text_targets import LanguageModelUnavailable

BATCH = 32


@dataclass(frozen=True)
class Clip:
    """A CLIP by name. Texts are cut after what it can read, 77 tokens."""

    model: CLIPModel
    processor: CLIPProcessor

    @classmethod
    def load(cls, name: str) -> "Clip":
        """From the hub or a folder. Raises `LanguageModelUnavailable`."""
        try:
            model = CLIPModel.from_pretrained(name, use_safetensors=True)
            processor = CLIPProcessor.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise LanguageModelUnavailable(
                f"the CLIP {name!r} can't be had ({str(error).splitlines()[0]}); expected a name on the hub or a folder"
            ) from error
        place = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model.to(place).eval(), processor)

    @torch.no_grad()
    def images(self, rows: Dataset) -> np.ndarray:
        """Embeddings [N, D] of length 1 of the rows' images."""
        made = []
        for start in range(0, len(rows), BATCH):
            shown = [image.convert("RGB") for image in rows[start : start + BATCH]["image"]]
            inputs = self.processor(images=shown, return_tensors="pt").to(self.model.device)
            made.append(_pooled(self.model.get_image_features(**inputs)))
        return _unit(torch.cat(made))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings [N, D] of length 1."""
        made = []
        for start in range(0, len(texts), BATCH):
            inputs = self.processor(
                text=list(texts[start : start + BATCH]), return_tensors="pt", padding=True, truncation=True
            ).to(self.model.device)
            made.append(_pooled(self.model.get_text_features(**inputs)))
        return _unit(torch.cat(made))


def _pooled(features: object) -> torch.Tensor:
    return features if isinstance(features, torch.Tensor) else features.pooler_output


def _unit(features: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
