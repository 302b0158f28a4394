import numpy as np
import pytest

from medmm_lib.chat import ChatError
from medmm_lib.evaluation import judge

ASKED = {
    "questions": ["Is there {reference}?", "Which side?"],
    "references": ["Yes", "left"],
    "predictions": ["No", "left"],
}


def right_or_wrong(prompt):
    """10 where the answer is the reference."""
    lines = dict(line.split(": ", 1) for line in prompt.splitlines() if ": " in line)
    return "10" if lines["Reference answer"] == lines["Student's answer"] else "Score: 0"


def test_a_judge_is_asked_with_the_prompt_and_its_numbers_are_shares(serve):
    server = serve(right_or_wrong)
    scores = judge.judged(**ASKED, server=server.url, model="small")
    assert scores.tolist() == [0, 1]
    assert {(asked["model"], asked["temperature"]) for asked in server.got} == {("small", 0)}
    assert any("Question: Is there {reference}?" in prompt for prompt in server.asked)  # a text is no place to fill in


@pytest.mark.parametrize("verdict", ["I can't say.", "90", "", "-3", "On a scale of 0 to 10: 8", "<think>\n1. compare"])
def test_a_verdict_without_a_number_in_range_is_none(serve, verdict):
    server = serve(lambda prompt: verdict)
    assert np.isnan(judge.judged(**ASKED, server=server.url, model="small")).all()


@pytest.mark.parametrize("verdict", ["8", " 8/10 ", "Score: 8", "8."])
def test_a_number_is_read_as_judges_write_it(serve, verdict):
    server = serve(lambda prompt: verdict)
    assert judge.judged(**ASKED, server=server.url, model="small").tolist() == [0.8, 0.8]


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(ChatError, match=r"127\.0\.0\.1:9/v1, model 'small'.*Is the server up"):
        judge.judged(**ASKED, server="http://127.0.0.1:9/v1", model="small")


def test_a_prompt_without_a_place_is_refused(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Is {prediction} the answer to {question}?")
    with pytest.raises(ValueError, match="no place for reference"):
        judge.judged(**ASKED, server="http://127.0.0.1:9/v1", model="small", prompt=prompt)
