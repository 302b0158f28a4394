import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from medmm_lib.evaluation.bert_score import bert_scores

WORDS = "[PAD] [UNK] [CLS] [SEP] a an no left right effusion cyst mass is seen".split()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny BERT with random weights: the same words still have nearer embeddings than others."""
    folder = tmp_path_factory.mktemp("bert")
    inner = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=32, **special).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=40, **sizes)).save_pretrained(folder)
    return str(folder)


def test_the_same_text_scores_one_and_another_less(model):
    scores = bert_scores(
        ["a left effusion is seen", "no mass", ""], ["a left effusion is seen", "a cyst", "a cyst"], model
    )
    assert scores.shape == (3,)
    assert scores[0] == pytest.approx(1, abs=1e-4)
    assert scores[1] < 0.999
    assert scores[2] == 0


def test_every_pair_is_scored_by_itself(model):
    said = ["a cyst", "no", "a left effusion is seen", "mass", "no left mass", "an effusion"]
    known = ["a left cyst is seen", "no mass", "effusion", "a mass is seen", "right", "no effusion"]
    together = bert_scores(said, known, model)
    alone = [bert_scores([one], [other], model)[0] for one, other in zip(said, known, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, bert_scores(known, said, model), atol=1e-5)  # F1 is symmetric
