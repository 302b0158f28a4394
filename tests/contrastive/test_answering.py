import numpy as np
import pytest
import torch

from medmm_lib.contrastive import architectures, comparison
from medmm_lib.contrastive.answering import UNKNOWN, Language, majority_right, right, train
from medmm_lib.contrastive.fitting import asked
from medmm_lib.contrastive.fusion import FusionNetwork
from medmm_lib.contrastive.tower import Tower
from tests.contrastive import small


@pytest.fixture(scope="module")
def exam():
    learned, held_out = small.questions(128, 0), small.questions(40, 1)
    language = Language(learned[1])
    parts = tuple(
        language.encode(rows, images, [k % 4 == 0 for k in range(len(images))])
        for _, rows, images in (learned, held_out)
    )
    return comparison.Exam(
        (learned[0], held_out[0]), parts, language.size, language.longest, len(language.answers), "test"
    )


def test_words_and_answers_are_those_of_training():
    _, rows, images = small.questions(8, 0)
    language = Language(rows)
    assert language.answers == sorted(set(rows["answer"]))
    changed = rows.select([0]).map(lambda _: {"question": "Is the dog left?", "answer": "Maybe"})
    encoded = language.encode(changed, images)
    assert encoded.words[0].tolist()[2] == 1  # the dog
    assert encoded.answer.tolist() == [UNKNOWN]
    assert encoded.image.tolist() == [0]


def test_other_patients_images(exam):
    part = exam.questions[1]
    exchanged = part.with_others_images(0)
    patient_of = dict(zip(part.image.tolist(), part.patients, strict=True))
    assert all(patient_of[i] != p for i, p in zip(exchanged.image.tolist(), part.patients, strict=True))


def test_the_majority_answer_needs_no_model():
    _, training, _ = small.questions(64, 0)
    _, rows, _ = small.questions(20, 1)
    assert 0.2 < majority_right(training, rows).mean() < 0.8


def test_attention_fusion_looks_at_the_image(exam, tmp_path):
    torch.manual_seed(0)
    model = FusionNetwork(Tower(small.mae(), 8), exam.words, exam.answers)
    train(model, exam.pixels[0], exam.questions[0], small.schedule(steps=200), tmp_path, key="test")
    seen = right(model, exam.pixels[1], exam.questions[1]).mean()
    assert seen > 0.75
    assert seen > right(model, exam.pixels[1], exam.questions[1].with_others_images(0)).mean() + 0.1


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_every_architecture_learns_and_has_the_weights_asked_for(name, exam, tmp_path):
    exam = exam.known_kinds()
    model, _, language_s = comparison.trained(name, exam, 4, 60_000, small.schedule(steps=250), tmp_path)
    assert abs(architectures.weights(model) - 60_000) < 12_000
    assert (language_s > 0) == (name == "adapters")
    assert right(model, exam.pixels[1], exam.questions[1]).mean() > 0.7


def test_no_word_behind_the_question_counts(exam):
    for name in architectures.ARCHITECTURES:
        torch.manual_seed(0)
        model = architectures.sized(name, exam.task(4), 60_000).eval()
        if name == "adapters":
            for layer in model.text:
                torch.nn.init.ones_(layer.gate)
        part = exam.known_kinds().questions[1].select([0, 1])
        pixels, shorter = exam.pixels[1][part.image], part.words.clone()
        shorter[:, 3:] = 0
        alone = asked(model, model.scores, pixels, shorter[:, :3], part.kind)
        torch.testing.assert_close(asked(model, model.scores, pixels, shorter, part.kind), alone, atol=0.03, rtol=0.03)


def test_adapters_start_blind_and_keep_their_language_model(exam, tmp_path):
    exam = exam.known_kinds()
    model = architectures.sized("adapters", exam.task(4), 60_000)
    architectures.train_language(model, exam.questions[0], small.schedule(steps=20), tmp_path, key="test")
    part = exam.questions[1]
    scores = [asked(model, model.scores, pixels, part.words, part.kind) for pixels in
              (exam.pixels[1][part.image], torch.zeros(len(part), 16, 16, dtype=torch.uint8))]  # fmt: skip
    assert torch.equal(*scores)  # gates start at 0
    before = [weight.clone() for weight in model.language_parts()]
    train(model, exam.pixels[0], exam.questions[0], small.schedule(steps=10), tmp_path, key="test")
    assert all(torch.equal(a, b) for a, b in zip(before, model.language_parts(), strict=True))
    assert any(layer.gate != 0 for layer in model.text)


def test_a_new_kind_changes_nothing_until_it_is_trained(exam, tmp_path):
    model, _, _ = comparison.trained("encoder–decoder", exam.of_kind(0), 4, 60_000, small.schedule(), tmp_path)
    part = exam.questions[1]
    pixels = exam.pixels[1][part.image]
    before = asked(model, model.scores, pixels, part.words, torch.zeros_like(part.kind))
    parts = model.patches.add_kind()
    assert torch.equal(asked(model, model.scores, pixels, part.words, torch.ones_like(part.kind)), before)
    assert sum(weight.numel() for weight in parts) == 16 * model.patches.width + 2 * model.patches.width


def test_new_parts_alone_forget_nothing(exam, tmp_path):
    table = comparison.further(exam, 4, 60_000, small.schedule(steps=40), [5], [0], tmp_path)
    assert len(table) == 8
    alone = table[table["way"] == "new parts only"]
    assert (alone["old"] == alone["old_before"]).all()
    assert (alone["retrained"] < table[table["way"] == "everything"]["retrained"].to_numpy()).all()


def test_the_comparison_has_its_columns(exam, tmp_path):
    table = comparison.compare(exam, (4, 8), 60_000, small.schedule(steps=5), (0, 1), tmp_path)
    assert list(table["arm"]) == [*architectures.ARCHITECTURES] * 2
    assert set(table["tokens"]) == {16, 4}
    assert (table["memory_mib"] > 0).all()
    assert not table[["value", "low", "high", "seeds", "difference", "step_ms", "anothers"]].isna().any().any()
    adapters = table[table["arm"] == "adapters"]
    assert (adapters["trained"] < adapters["parameters"]).all()
    assert np.isclose(table["difference"][0], 0)


def test_what_does_not_fit_is_named(exam):
    with pytest.raises(ValueError, match="expected two encoders"):
        architectures.sized("perceiver", exam.task(4), 60_000)
    with pytest.raises(ValueError, match="narrowest"):
        architectures.sized("adapters", exam.task(4), 100)
