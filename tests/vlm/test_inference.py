import json

import pytest
import torch

from medmm_lib.device import autocast
from medmm_lib.evaluation import predictions as scoring
from medmm_lib.vlm import inference
from medmm_lib.vlm.finetuning import finetune
from tests.vlm import small


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    tuning = small.tuning("fp32", method="full", steps=80, batch_size=8, learning_rate=5e-3)
    return finetune(small.base(folder / "base"), tuning, small.rows(), folder, key="test")


def answered(tuned, rows, **options):
    return inference.answer(tuned.model, tuned.collator, rows, longest=5, **options)


def test_greedy_answers_are_the_likeliest_tokens(tuned):
    rows = small.rows(8)
    batch = tuned.collator(rows)
    labels = batch.pop("labels")
    with torch.no_grad(), autocast(tuned.model):
        logits = tuned.model.eval()(**batch).logits
    first = (labels != -100).int().argmax(1)
    likeliest = logits[torch.arange(8), first - 1].argmax(-1)
    tokeniser = tuned.collator.processor.tokenizer
    answers = inference.answer(tuned.model, tuned.collator, rows, longest=1)
    assert answers == [text.strip() for text in tokeniser.batch_decode(likeliest[:, None], skip_special_tokens=True)]


def test_what_was_learned_is_answered_whatever_the_batch(tuned):
    rows = small.rows(10)
    answers = answered(tuned, rows)
    assert answers == [row["answer"] for row in rows]
    assert answered(tuned, rows, batch_size=3) == answers


def test_sampled_answers_differ_and_are_repeatable(tuned):
    rows = small.rows(4)
    samples = answered(tuned, rows, samples=6, temperature=3.0)
    assert [len(texts) for texts in samples] == [6] * 4
    assert len({text for texts in samples for text in texts}) > 4
    assert answered(tuned, rows, samples=6, temperature=3.0) == samples


def test_predictions_can_be_scored_by_the_evaluation(tuned, tmp_path):
    rows = small.rows(6)
    answers = ["cec. cec. cec. cec.", *(row["answer"] for row in rows[1:])]
    records = inference.predictions(rows, answers, "answer en {question}", [[text] * 5 for text in answers])
    file = tmp_path / "predictions.jsonl"
    scoring.write(records, file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[1]["prompt"] == "answer en Is this bright?"
    assert lines[0]["flags"] == ["repetition"]
    assert [line["exact_match"] for line in lines] == [0, 1, 1, 1, 1, 1]
    scored = scoring.score(scoring.read(file))
    assert scored["interval_over"] == "patients"
    assert scored["parts"]["all"]["metrics"]["exact_match"]["mean"] == pytest.approx(5 / 6)
