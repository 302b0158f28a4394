import pytest
import torch

from medmm_kernels import mask_batch
from medmm_lib.fourm import FourM, FourMShape, Space, sized
from medmm_lib.fourm.embeddings import sine_cosine
from medmm_lib.fourm.pretraining import step
from medmm_lib.fourm.tokens import as_input
from tests.fourm import small

EMBEDDINGS = ["per modality", "unified"]


def masked_batch(rows=6):
    studies = small.tokens(rows)
    masked = mask_batch(studies.ids, studies.lengths, small.spec(), seed=1, sample_ids=torch.arange(rows))
    return masked, {name: as_input(pixels) for name, pixels in studies.pixels.items()}


def decoded(model, masked, patches):
    memory = model.remember(*model.encode(masked.encoder, patches))
    return model.decode(masked.decoder, memory, masked.encoder.valid)


@pytest.mark.parametrize("embeddings", EMBEDDINGS)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_one_batch_is_learned_by_heart(embeddings, kv_heads):
    model, studies, spec = (
        small.model(embeddings=embeddings, kv_heads=kv_heads, width=64),
        small.tokens(4),
        small.spec(),
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(120):
        losses, _ = step(model, studies, spec, 0, torch.arange(4))
        losses.loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses.loss < 0.02
    assert (losses.sums.sum(0) / losses.counts.sum(0).clamp(min=1) < 0.05).all()  # in every modality


def test_loss_counts_every_token_the_same():
    model = small.model()
    losses = model(*masked_batch())
    assert losses.counts.sum() == masked_batch()[0].decoder.valid.sum()
    torch.testing.assert_close(losses.loss, losses.sums.sum() / losses.counts.sum())
    assert losses.counts[:, model.shape.names.index("patches")].sum() == 0


def test_a_read_token_of_one_modality_changes_no_other_modalitys_output():
    model, (masked, patches) = small.model(), masked_batch()
    before = decoded(model, masked, patches)
    for name in ("caption", "boxes"):
        mine = masked.decoder.modality == model.shape.names.index(name)
        other_ids = torch.where(mine, (masked.decoder.ids + 3) % small.START, masked.decoder.ids)
        after = decoded(model, masked._replace(decoder=masked.decoder._replace(ids=other_ids)), patches)
        torch.testing.assert_close(after[~mine & masked.decoder.valid], before[~mine & masked.decoder.valid])
        assert (after[mine] - before[mine]).abs().max() > 1e-3


def test_asking_for_other_places_of_a_grid_changes_no_other_modalitys_output():
    model, (masked, patches) = small.model(), masked_batch()
    before = decoded(model, masked, patches)
    mine = masked.decoder.modality == model.shape.names.index("map")
    moved = torch.where(mine, 15 - masked.decoder.position, masked.decoder.position)
    after = decoded(model, masked._replace(decoder=masked.decoder._replace(position=moved)), patches)
    torch.testing.assert_close(after[~mine & masked.decoder.valid], before[~mine & masked.decoder.valid])
    assert (after[mine] - before[mine]).abs().max() > 1e-3


def test_a_later_caption_token_does_not_influence_an_earlier_one():
    model, (masked, patches) = small.model(), masked_batch()
    before = decoded(model, masked, patches)
    caption = model.shape.names.index("caption")
    row = int((masked.decoder.modality == caption).sum(1).argmax())
    places = (masked.decoder.modality[row] == caption).nonzero()[:, 0]
    changed = places[len(places) // 2]
    ids = masked.decoder.ids.clone()
    ids[row, changed] = (ids[row, changed] + 5) % small.START
    after = decoded(model, masked._replace(decoder=masked.decoder._replace(ids=ids)), patches)
    earlier, later = places[places < changed], places[places >= changed]
    torch.testing.assert_close(after[row, earlier], before[row, earlier])
    assert ((after[row, later] - before[row, later]).abs().amax(1) > 1e-4).all()


def test_padding_in_the_encoder_changes_nothing():
    model, (masked, patches) = small.model(), masked_batch()
    assert not masked.encoder.valid.all()
    before = decoded(model, masked, patches)
    padding = ~masked.encoder.valid
    filled = masked.encoder._replace(ids=torch.where(padding, 7, masked.encoder.ids))
    after = decoded(model, masked._replace(encoder=filled), patches)
    torch.testing.assert_close(after[masked.decoder.valid], before[masked.decoder.valid])


def test_only_given_patches_are_seen():
    model, (masked, patches) = small.model(), masked_batch()
    given = torch.zeros(6, 16, dtype=torch.bool)
    mine = masked.encoder.modality == model.shape.names.index("patches")
    row, column = mine.nonzero(as_tuple=True)
    given[row, masked.encoder.position[row, column].long()] = True
    assert given.any()
    assert not given.all()
    before = decoded(model, masked, patches)
    hidden_changed = {"patches": torch.where(given[..., None], patches["patches"], 9.0)}
    torch.testing.assert_close(decoded(model, masked, hidden_changed), before)
    given_changed = {"patches": torch.where(given[..., None], -patches["patches"], patches["patches"])}
    assert (decoded(model, masked, given_changed) - before).abs().max() > 1e-3


def test_unified_embeddings_share_what_modalities_of_one_vocabulary_have_in_common():
    per_modality, unified = small.model(), small.model(embeddings="unified")
    assert set(per_modality.embeddings.tokens) == {"image", "map", "caption", "boxes"}
    assert set(unified.embeddings.tokens) == {"image", "map", "text"}
    difference = sum(p.numel() for p in per_modality.parameters()) - sum(p.numel() for p in unified.parameters())
    assert difference == small.WORDS * 32


def test_unified_softmax_spans_all_vocabularies():
    model = small.model(embeddings="unified")
    masked, patches = masked_batch()
    nats = model(masked, patches).loss
    everything = small.WORDS + 30 + 12
    assert nats.item() == pytest.approx(torch.tensor(float(everything)).log().item(), abs=0.4)


@pytest.mark.parametrize("embeddings", EMBEDDINGS)
def test_saved_and_loaded_is_the_same(tmp_path, embeddings):
    model = small.model(embeddings=embeddings, kv_heads=2)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    loaded = FourM.from_pretrained(tmp_path)
    model.eval()
    assert loaded.shape == model.shape
    masked, patches = masked_batch()
    assert loaded(masked, patches).loss == model(masked, patches).loss


@pytest.mark.parametrize("embeddings", EMBEDDINGS)
def test_a_new_modality_needs_only_its_own_weights(embeddings):
    known = small.model(embeddings=embeddings)
    masked, patches = masked_batch()
    before = known(masked, patches)
    larger = known.extended({"depth": Space("dense", "depth", 9, (4, 4))})
    trained = {name for name, parameter in larger.named_parameters() if parameter.requires_grad}
    assert trained == {"embeddings.tokens.depth", "embeddings.modalities.depth", "embeddings.asked.depth"}

    studies = small.tokens(4, spaces=larger.shape.spaces)
    spec = small.spec(larger.shape.spaces, mixture=["1: patches -> any"])
    new = larger.shape.names.index("depth")
    optimiser = torch.optim.AdamW([p for p in larger.parameters() if p.requires_grad], lr=2e-2)
    course = []
    for _ in range(60):
        losses, _ = step(larger, studies, spec, 0, torch.arange(4))
        losses.loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        course.append((losses.sums[:, new].sum() / losses.counts[:, new].sum()).item())
    assert course[-1] < 0.8 * course[0]
    if embeddings == "per modality":  # what was known is not touched: other names, other places, the same loss
        old = larger.eval()
        shared = {name: space for name, space in larger.shape.spaces.items() if name != "depth"}
        remapped = torch.tensor([larger.shape.names.index(name) for name in sorted(shared)])
        sides = [
            side._replace(modality=torch.where(side.modality < 0, side.modality, remapped[side.modality].int()))
            for side in masked
        ]
        torch.testing.assert_close(old(masked._replace(encoder=sides[0], decoder=sides[1]), patches).loss, before.loss)


def test_extending_by_a_known_modality_is_refused():
    with pytest.raises(ValueError, match="map: this model knows them already"):
        small.model().extended({"map": small.SPACES["map"]})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"heads": 3}, "heads that divide the width"),
        ({"kv_heads": 3}, "kv_heads that divide the heads"),
        ({"width": 30, "heads": 3, "kv_heads": 3}, "multiple of 4"),
        ({"embeddings": "shared"}, "expected 'per modality' or 'unified'"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        FourMShape(small.SPACES, **shape)


def test_named_sizes_grow():
    sizes = [sum(p.numel() for p in FourM(sized(small.SPACES, size)).parameters()) for size in ("tiny", "small")]
    assert sizes == sorted(sizes)
    with pytest.raises(ValueError, match="'giant'; expected tiny, small, medium, base"):
        sized(small.SPACES, "giant")


@pytest.mark.parametrize("grid", [(1, 50), (8, 8), (4, 16)])
def test_positions_tell_every_place_from_every_other(grid):
    positions = sine_cosine(grid, 64)
    assert positions.shape == (grid[0] * grid[1], 64)
    likeness = positions @ positions.T
    assert (likeness.argmax(1) == torch.arange(len(positions))).all()
    alone = likeness.diagonal()
    others = likeness - torch.diag(alone)
    assert others.max() < 0.8 * alone.min()


def test_compiles_without_breaks():
    model = small.model()
    masked, patches = masked_batch()
    expected = model(masked, patches)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(masked, patches)
    torch.testing.assert_close(compiled.loss, expected.loss)
    torch.testing.assert_close(compiled.sums, expected.sums)
