import pytest
import torch

from medmm_kernels import mask_batch
from medmm_lib.fourm.mixture import mask_spec
from tests.fourm import small


def masked(*mixture, **options):
    studies = small.tokens(64)
    spec = small.spec(mixture=mixture, **options)
    batch = mask_batch(studies.ids, studies.lengths, spec, seed=0, sample_ids=torch.arange(64))
    given, asked = (
        [sorted({spec.names[m] for m in row.tolist() if m >= 0}) for row in part.modality]
        for part in (batch.encoder, batch.decoder)
    )
    return given, asked, batch


def test_a_line_says_what_is_given_and_what_is_asked_for():
    given, asked, _ = masked("1: patches, image -> caption, map * 3")
    assert set(map(tuple, given)) <= {("image",), ("patches",), ("image", "patches")}
    assert set(map(tuple, asked)) <= {("caption",), ("map",), ("caption", "map")}


def test_lines_are_drawn_by_their_share():
    given, _, _ = masked("0.75: patches -> map", "0.25: image -> map")
    assert 0.55 < given.count(["patches"]) / len(given) < 0.92


def test_the_rest_can_be_named_together():
    _, asked, batch = masked("1: image -> map * 1000, any")
    share = float((batch.decoder.modality == 3).sum() / batch.decoder.valid.sum())
    assert "patches" not in {name for row in asked for name in row}
    assert share > 0.5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("patches -> map", "expected a line such as"), ("1: patches", "expected a line such as"),
        ("1: scan -> map", "with 'scan'"), ("1: image -> patches", "with 'patches'"),
        ("1: image -> map * much", "found 'much'"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(line, message):
    with pytest.raises(ValueError, match=message):
        masked(line)


def test_without_lines_it_says_what_to_write():
    with pytest.raises(ValueError, match="mixture is empty"):
        mask_spec(small.SPACES, 0, 0, mixture=[], inputs=1, targets=1)


def test_a_text_that_is_only_given_is_given_whole():
    given, _, batch = masked("1: caption -> map", inputs=(24, 24))
    assert set(map(tuple, given)) == {("caption",)}
    lengths = small.tokens(64).lengths["caption"]
    assert torch.equal(batch.encoder.valid.sum(1), lengths)
    assert int(batch.encoder.ids.max()) < small.START  # no sentinel stands for a word
