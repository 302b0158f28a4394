import numpy as np
import pytest
import torch
from PIL import Image

import medmm_lib.data
from medmm_lib.data.schema import MASK_CLASSES
from medmm_lib.fourm import boxes, pseudo, vq
from medmm_lib.fourm.modalities import REGISTRY, Modality, age_group
from medmm_lib.fourm.text import TextTokeniser
from medmm_lib.fourm.tokens import Tokenisers, to_patches
from medmm_lib.fourm.views import views
from medmm_lib.fourm.vq import VQShape, VQTokeniser

TEXTS = ("caption", "findings", "boxes", "metadata")
MOST = {"caption": 120, "findings": 90, "boxes": 60, "metadata": 40}
SHAPE = {"codes": 16, "width": 16, "code_width": 4}


@pytest.fixture(scope="module")
def studies():
    return medmm_lib.data.load("phantom")["train"].select(range(0, 400, 40))


def tokenisers(studies, modalities=("patches", "image", "label map", *TEXTS), registry=REGISTRY, seed=0):
    torch.manual_seed(seed)
    texts = [text for row in studies for name in TEXTS if (text := REGISTRY[name].read(row, 64))]
    visual = {
        entry.vocabulary: VQTokeniser(VQShape(classes=entry.classes, **SHAPE)).eval()
        for name in modalities
        if (entry := registry[name]).kind == "dense"
    }
    for tokeniser in visual.values():  # the first batch that it sees becomes the codebook
        tokeniser.encode(torch.randint(0, 2, (4, 64, 64), dtype=torch.uint8))
    text = TextTokeniser.train(texts, 600)
    return Tokenisers(modalities, text, visual, side=64, patch=8, most=MOST, registry=registry)


def test_studies_become_tokens_and_texts_come_back(studies):
    made = tokenisers(studies)
    tokens = made.encode(studies)
    assert len(tokens) == len(studies)
    for name, space in made.spaces.items():
        assert tokens.ids[name].shape == (len(studies), space.places)
        if space.kind != "patches":
            assert 0 <= tokens.ids[name].min() <= tokens.ids[name].max() < space.vocabulary_size
    assert (tokens.lengths["image"] == 64).all()
    captions = made.decode("caption", tokens.ids["caption"])
    for caption, known in zip(captions, studies["caption"], strict=True):
        assert caption.replace(" ", "") == known.lower().replace(" ", "")
    for text, known in zip(made.decode("boxes", tokens.ids["boxes"]), studies["boxes"], strict=True):
        assert [box.name for box in boxes.read(text)] == [box["name"] for box in known]
    assert made.decode("label map", tokens.ids["label map"])[0].max() < len(MASK_CLASSES)


def test_patches_are_the_pixels_in_reading_order(studies):
    tokens = tokenisers(studies).encode(studies)
    image = np.asarray(studies[0]["image"])
    patches = tokens.pixels["patches"][0].view(8, 8, 8, 8).numpy()
    np.testing.assert_array_equal(patches[2, 5], image[16:24, 40:48])
    assert tokens.given("patches")["patches"].abs().max() <= 1
    assert to_patches(torch.arange(16).view(1, 4, 4), 2)[0, 1].tolist() == [2, 3, 6, 7]


def test_what_a_study_lacks_has_length_zero(studies):
    rows = [dict(row) for row in studies]
    rows[0] |= {"caption": None, "mask": None, "boxes": None}
    rows[1] |= {"boxes": []}
    made = tokenisers(studies)
    tokens = made.encode(rows)
    assert [int(tokens.lengths[name][0]) for name in ("caption", "label map", "boxes")] == [0, 0, 0]
    assert tokens.lengths["boxes"][1] == 1  # known to be none: the end token alone
    given = tokens.given("label map", "caption")
    assert (given["label map"][0] == -1).all()
    assert (given["caption"][0] == -1).all()
    assert given["caption"][1, int(tokens.lengths["caption"][1]) - 1] == made.text.end


def test_metadata_says_what_is_known():
    row = dict.fromkeys(["sequence", "plane", "location"], None) | {"modality": "MR", "age": 64, "sex": "female"}
    assert REGISTRY["metadata"].read(row, 64) == "modality MR, age 60s, sex female"
    assert [age_group(years) for years in (0, 12, 13, 19, 20, 99)] == ["child", "child", "teens", "teens", "20s", "90s"]


def test_cached_tokens_are_read_only_for_the_same_tokenisers_and_data(studies, tmp_path, monkeypatch):
    made = tokenisers(studies)
    first = made.cached(lambda: studies, tmp_path, "data 1")
    monkeypatch.setattr(Tokenisers, "encode", lambda *_: pytest.fail("these tokens are on disk"))
    again = made.cached(lambda: studies, tmp_path, "data 1")
    for field in ("ids", "lengths", "pixels"):
        for name, rows in getattr(first, field).items():
            assert torch.equal(rows, getattr(again, field)[name])
    with pytest.raises(pytest.fail.Exception, match="on disk"):
        made.cached(lambda: studies, tmp_path, "data 2")
    with pytest.raises(pytest.fail.Exception, match="on disk"):
        tokenisers(studies, seed=1).cached(lambda: studies, tmp_path, "data 1")


def test_a_modality_is_added_by_one_entry(studies):
    inverse = Modality("inverse", lambda row, side: 255 - REGISTRY["image"].read(row, side))
    made = tokenisers(studies, ("patches", "caption", "inverse"), REGISTRY | {"inverse": inverse})
    tokens = made.encode(studies)
    assert tokens.ids["inverse"].shape == (len(studies), 64)
    assert made.spaces["inverse"].kind == "dense"


def test_pixels_can_not_be_decoded(studies):
    with pytest.raises(ValueError, match="patches is given as pixels"):
        tokenisers(studies).decode("patches", torch.zeros(1, 64))


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_a_code_stands_for_a_patch_of_any_size(patch):
    tokeniser = VQTokeniser(VQShape(side=32, patch=patch, **SHAPE))
    pictures = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    codes = tokeniser.encode(pictures)
    assert codes.shape == (3, (32 // patch) ** 2)
    assert tokeniser.decode(codes).shape == pictures.shape


def test_a_vq_tokeniser_learns_and_stays_the_same_on_disk(studies, tmp_path):
    torch.manual_seed(0)
    pictures = torch.from_numpy(np.stack([REGISTRY["image"].read(row, 64) for row in studies]))
    tokeniser = VQTokeniser(VQShape(**SHAPE))
    log = vq.train(tokeniser, pictures, tmp_path, steps=60, seed=0, batch_size=8)
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert not any(parameter.requires_grad for parameter in tokeniser.parameters())
    codes = tokeniser.encode(pictures)
    assert codes.shape == (len(pictures), 64)
    error = (tokeniser.decode(codes).float() - pictures.float()).square().mean()
    assert error < pictures.float().var()  # better than the mean grey
    tokeniser.save_pretrained(tmp_path / "saved")
    loaded = VQTokeniser.from_pretrained(tmp_path / "saved")
    assert torch.equal(loaded.encode(pictures), codes)


def test_rare_classes_of_a_label_map_are_learned(studies, tmp_path):
    maps = torch.zeros(16, 64, 64, dtype=torch.uint8)
    for number in range(16):
        maps[number, 8:56, 8:56] = 1
        maps[number, 8 + number : 16 + number, 20:30] = 2  # 2 % of the pixels
    torch.manual_seed(0)
    tokeniser = VQTokeniser(VQShape(classes=3, **SHAPE))
    vq.train(tokeniser, maps, tmp_path, steps=120, seed=0, batch_size=8)
    made = tokeniser.decode(tokeniser.encode(maps))
    both, either = ((made == 2) & (maps == 2)).sum(), ((made == 2) | (maps == 2)).sum()
    assert both / either > 0.5


@pytest.mark.parametrize("pictures", [torch.zeros(1, 32, 32, dtype=torch.uint8), torch.zeros(1, 64, 64)])
def test_pictures_of_another_size_or_type_are_refused(pictures):
    with pytest.raises(ValueError, match=r"expected \[B, 64, 64\] uint8"):
        VQTokeniser(VQShape(**SHAPE)).encode(pictures)


@pytest.mark.parametrize("shape", [{"side": 60}, {"patch": 2}, {"side": 96, "patch": 12}])
def test_a_vq_shape_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match="that divides the side"):
        VQShape(**shape)


def test_the_tissue_map_finds_the_body_and_three_tissues():
    image = np.zeros((64, 64), np.uint8)
    image[10:50, 10:50], image[20:30, 20:30], image[35:45, 35:45] = 80, 160, 240
    made = pseudo.tissue(image)
    assert (made[5, 5], made[15, 15], made[25, 25], made[40, 40]) == (0, 1, 2, 3)
    edges = pseudo.edges(image)
    assert set(np.unique(edges)) == {0, 1}
    assert edges[12:18, 12:18].sum() == 0
    assert edges[:, 8:13].sum() > 30


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_image_has_no_tissue_and_no_edges(value):
    image = np.full((64, 64), value, np.uint8)
    assert pseudo.tissue(image).sum() == 0
    assert pseudo.edges(image).sum() == 0


def test_only_computed_modalities_are_marked_as_pseudo():
    assert {name for name, entry in REGISTRY.items() if entry.pseudo} == {"tissue", "edges"}


def test_views_move_image_map_and_boxes_together():
    image, mask = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    image[20:36, 28:40], mask[20:36, 28:40] = 200, 10
    box = {"box": [28 / 64, 20 / 64, 40 / 64, 36 / 64], "name": "cyst"}
    row = {"image": Image.fromarray(image), "mask": Image.fromarray(mask), "boxes": [box], "image_id": "a"}
    made = list(views(row, 12, seed=0))
    assert made[0] is row
    places = set()
    for view in made[1:]:
        bright, labelled = np.asarray(view["image"]) > np.max(view["image"]) / 2, np.asarray(view["mask"]) == 10
        assert (bright & labelled).sum() > 0.7 * (bright | labelled).sum()
        y, x = labelled.nonzero()
        x0, y0, x1, y1 = np.array(view["boxes"][0]["box"]) * 64
        np.testing.assert_allclose([x0, y0, x1, y1], [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1.5)
        places.add((x.min(), y.min()))
    assert len(places) > 6
    again = list(views(row, 12, seed=0))
    assert all(a["image"].tobytes() == b["image"].tobytes() for a, b in zip(made, again, strict=True))


def test_views_of_a_study_without_map_and_boxes():
    row = {"image": Image.new("L", (64, 64)), "mask": None, "boxes": None, "image_id": "a"}
    view = list(views(row, 2, seed=0))[1]
    assert view["mask"] is None
    assert view["boxes"] is None
    box_outside = {"box": [0.0, 0.0, 0.02, 0.02], "name": "cyst"}
    cut = [len(v["boxes"]) for v in views(row | {"boxes": [box_outside]}, 20, seed=0)]
    assert 0 < sum(cut) < 20  # in sight in some, out of it in others
