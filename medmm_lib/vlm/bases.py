"""Base models by name: configurations that need no download, and the licences that they come under."""

from dataclasses import dataclass
from functools import partial

from transformers import AutoConfig, PaliGemmaConfig

# The vision tower of every PaliGemma: SigLIP So400m with patches of 14 pixels (Zhai et al. 2023, arXiv:2303.15343).
_SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
# Language models: Gemma 2B (arXiv:2403.08295, table 1), Gemma 2 2B, 9B and 27B (arXiv:2408.00118, table 1).
_GEMMA = {
    "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
    "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256,
}  # fmt: skip
_GEMMA_2 = {
    "3b": {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
           "num_key_value_heads": 4, "head_dim": 256},
    "10b": {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16,
            "num_key_value_heads": 8, "head_dim": 256},
    "28b": {"hidden_size": 4608, "intermediate_size": 36864, "num_hidden_layers": 46, "num_attention_heads": 32,
            "num_key_value_heads": 16, "head_dim": 128, "query_pre_attn_scalar": 144},
}  # fmt: skip
_VOCABULARY = 257216  # Gemma's 256,000, 1,024 places, 128 segment codes, and room to 257,216
_IMAGE_TOKEN = 257152


@dataclass(frozen=True)
class Base:
    """A base model: how it is built, its licence, and where the licence stands."""

    build: partial
    licence: str
    terms: str


def _paligemma(pixels: int, text: dict[str, int | str]) -> PaliGemmaConfig:
    width = text["hidden_size"]
    return PaliGemmaConfig(
        vision_config={**_SIGLIP, "image_size": pixels}, text_config={**text, "vocab_size": _VOCABULARY},
        projection_dim=width, hidden_size=width, vocab_size=_VOCABULARY, image_token_index=_IMAGE_TOKEN,
    )  # fmt: skip


def _known() -> dict[str, Base]:
    known = {}
    gemma = {"licence": "Gemma", "terms": "https://ai.google.dev/gemma/terms"}
    for pixels in (224, 448, 896):
        kinds = ("pt", "mix") if pixels < 896 else ("pt",)
        for kind in kinds:
            build = partial(_paligemma, pixels, _GEMMA)
            known[f"google/paligemma-3b-{kind}-{pixels}"] = Base(build, **gemma)
            for size, text in _GEMMA_2.items():
                build = partial(_paligemma, pixels, {"model_type": "gemma2", **text})
                known[f"google/paligemma2-{size}-{kind}-{pixels}"] = Base(build, **gemma)
    return known


BASES = _known()


def configuration(name: str) -> PaliGemmaConfig:
    """The configuration of a base model: of a PaliGemma from its published sizes, of any other from the hub or a
    folder.

    Raises `OSError` for a name that is neither, or can't be reached.
    """
    return BASES[name].build() if name in BASES else AutoConfig.from_pretrained(name)
