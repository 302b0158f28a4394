import pytest
import torch
from datasets import Dataset
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from medmm_lib.vlm import hub, loading
from medmm_lib.vlm.collator import Collator
from medmm_lib.vlm.inference import answer
from tests.vlm import small

TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}"
    "{{ c['text'] }}{% endif %}{% endfor %} {% endfor %}ASSISTANT:"
)
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**SIZES, "image_size": 16, "patch_size": 8, "projection_dim": 8}
NAMED = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def tokeniser():
    tokeniser = Tokenizer(models.BPE(unk_token="<unk>"))
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "<bos>", "<eos>", "<unk>", "<image>"]
    tokeniser.train_from_iterator(
        [*small.texts(), "USER: ASSISTANT:"], trainers.BpeTrainer(vocab_size=150, special_tokens=special)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokeniser, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
                                   unk_token="<unk>", model_max_length=40)  # fmt: skip


def images():
    return CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def training():
    return Dataset.from_list([{name: row[name] for name in ("question", "answer")} for row in small.rows()])


def a_clip(folder):
    words = tokeniser()
    text = {**SIZES, **NAMED, "vocab_size": len(words), "projection_dim": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)).save_pretrained(folder)
    CLIPProcessor(images(), words).save_pretrained(folder)


def a_llava(folder):
    words = tokeniser()
    text = {**SIZES, **NAMED, "model_type": "llama", "vocab_size": len(words)}
    config = LlavaConfig(vision_config={"model_type": "clip_vision_model", **VISION}, text_config=text,
                         image_token_index=4, vision_feature_layer=-1)  # fmt: skip
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(images(), words, patch_size=8, vision_feature_select_strategy="default", chat_template=TEMPLATE,
                   num_additional_image_tokens=1).save_pretrained(folder)  # fmt: skip


def test_a_vision_language_model_is_asked_through_its_chat_template(tmp_path):
    a_llava(tmp_path)
    rows = small.rows(6)
    ask = hub.opened(str(tmp_path), training(), longest=4, batch_size=4)
    answers = ask(rows)
    assert len(answers) == 6
    assert answers == [hub.opened(str(tmp_path), training(), longest=4, batch_size=1)([row])[0] for row in rows]
    without = [row | {"image": None} for row in rows]
    assert len(ask(without)) == 6


def test_a_clip_like_model_chooses_among_training_answers(tmp_path):
    a_clip(tmp_path)
    rows = small.rows(8)
    ask = hub.opened(str(tmp_path), training())
    for row, chosen in zip(rows, ask(rows), strict=True):
        assert chosen in small.QUESTIONS[row["question"]]
    assert ask([rows[0] | {"question": "Never asked?"}])[0] in {row["answer"] for row in rows}
    assert ask([rows[0] | {"image": None}])[0] == hub.answers_to(training())(rows[0]["question"])[0]


def test_a_clip_like_model_takes_the_answer_that_fits_best_whatever_the_questions_length(tmp_path):
    a_clip(tmp_path)
    model, processor = CLIPModel.from_pretrained(tmp_path), CLIPProcessor.from_pretrained(tmp_path)
    row = small.rows(2)[1]
    texts = [f"{row['question']} {text}" for text in ("No", "Yes")]
    inputs = processor(images=row["image"], text=texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        best = ("No", "Yes")[int(model(**inputs).logits_per_image.argmax())]
    asks = hub.opened(str(tmp_path), training())
    assert asks([row]) == [best]
    cut = hub._texts(processor, "Is this bright? " * 30, ["No", "Yes"], 20)
    ids = processor.tokenizer(cut, truncation=True, max_length=20)["input_ids"]
    assert ids[0] != ids[1]


def test_a_paligemma_is_asked_with_its_own_prompt(tmp_path):
    base = small.base(tmp_path)
    ask = hub.opened(str(base), training(), longest=5)
    rows = small.rows(3)
    collator = Collator(loading.load_processor(base))
    assert ask(rows) == answer(loading.load(base, "fp32"), collator, rows, longest=5)


def test_other_kinds_of_models_are_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="is of the type 'bert'"):
        hub.opened(str(tmp_path), training())


def test_the_licence_is_the_cards(tmp_path):
    assert hub.licence("google/paligemma-3b-mix-224").startswith("Gemma")
    assert hub.licence(str(tmp_path)) == "unknown"
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    assert hub.licence(str(tmp_path)) == "apache-2.0"


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (GatedRepoError, "Accept its licence at https://huggingface.co/google/paligemma-3b-mix-224"),
        (RepositoryNotFoundError, "set HF_TOKEN"),
        (LocalEntryNotFoundError, "hf download google/paligemma-3b-mix-224 --local-dir"),
    ],
)
def test_errors_of_the_hub_say_what_to_do(cause, advice, monkeypatch):
    class Response:
        headers, status_code, request = {}, 403, None

    def fails(*_, **__):
        try:
            raise cause("no") if cause is LocalEntryNotFoundError else cause("no", response=Response())
        except cause as error:
            raise OSError("We could not load it") from error

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", fails)
    with pytest.raises(loading.BaseUnavailable, match=advice):
        loading.load("google/paligemma-3b-mix-224")


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(loading.BaseUnavailable, match=str(tmp_path)):
        loading.load(tmp_path)
