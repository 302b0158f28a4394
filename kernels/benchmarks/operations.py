"""What is measured: masking, embedding, attention and a training step, each with a check of its result."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from per_sample import PerSampleMasking, word_tokenizer
from training import EncoderDecoder, FullLength, full_length, select
from training import collated as training_rows

from medmm_kernels import (
    MaskedBatch,
    MaskSpec,
    Modality,
    batch,
    batched,
    compiled,
    mask_batch,
    naive,
    segment_attention,
)

DENSE = ("rgb@224", "tok_clip@224", "tok_depth@224", "tok_normal@224", "tok_rgb@224", "tok_semseg@224")
TEXTS = {"short": (8, 24), "long": (240, 255)}  # words of a caption
SENTINELS, MOST_TEXT = 300, 256
UNIFORM_PER_SAMPLE = "per sample, uniform"  # what other strategies are compared with: 4M has no other


@dataclass
class Case:
    """Paths that do the same, how to see that they do, and what their rows say of the shape."""

    paths: dict[str, Callable[[], object]]
    check: Callable[[], None]
    shape: dict[str, object]
    bytes: dict[str, int] = field(default_factory=dict)


def specification(budget: int, places: int, alpha: float = 0.5, **changes: object) -> MaskSpec:
    """The eight modalities of 4M: two texts, five kinds of image tokens, and patches that are input only."""
    side = round(places**0.5)
    modalities = {
        name: Modality("dense", places, alpha, 0.0 if name.startswith("rgb") else alpha, grid=(side, side))
        for name in DENSE
    }
    modalities |= {name: Modality("sequence", MOST_TEXT, alpha, alpha) for name in ("caption", "det")}
    return MaskSpec(modalities, budget, budget, first_sentinel=4, sentinels=SENTINELS, **changes)


def samples(count: int, places: int, text: str, seed: int = 0) -> list[dict[str, torch.Tensor | str]]:
    """Samples as a data loader has them: image tokens, a caption of so many words, one to six boxes of five words."""
    generator, dice = torch.Generator().manual_seed(seed), random.Random(seed)
    result = []
    for _ in range(count):
        sample = {name: torch.randint(0, 16384, (places,), generator=generator) for name in DENSE}
        lengths = {"caption": dice.randint(*TEXTS[text]), "det": 5 * dice.randint(1, 6)}
        sample |= {name: " ".join(f"w{dice.randrange(2000)}" for _ in range(n)) for name, n in lengths.items()}
        result.append(sample)
    return result


def collated(rows: list[dict]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same samples as one batch, tokenised once: tokens and lengths."""
    tokenizer = word_tokenizer(SENTINELS)
    texts = [{n: torch.tensor([*tokenizer.encode(row[n]).ids, 1]) for n in ("caption", "det")} for row in rows]
    return stacked([row | text for row, text in zip(rows, texts, strict=True)])


def stacked(rows: list[dict[str, torch.Tensor]]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Samples whose texts are tokens as one batch: tokens and lengths."""
    tokens = {name: torch.stack([row[name] for row in rows]) for name in DENSE}
    for name in ("caption", "det"):
        tokens[name] = torch.nn.utils.rnn.pad_sequence([row[name] for row in rows], batch_first=True)
    return tokens, {name: torch.tensor([len(row[name]) for row in rows]) for name in ("caption", "det")}


def assert_equal(result: MaskedBatch, expected: MaskedBatch) -> None:
    """Refuse a path whose result differs in any field."""
    for side in ("encoder", "decoder"):
        for name, value in getattr(expected, side)._asdict().items():
            if not torch.equal(getattr(getattr(result, side), name).cpu(), value):
                raise SystemExit(f"{side}.{name} is not what the specification gives; nothing is measured")


def masking(
    rows: int,
    budget: int,
    places: int,
    text: str,
    device: torch.device,
    parity: bool = False,
    strategy: str = "uniform",
) -> Case:
    """Masking a batch: one sample at a time in Python, and every path that runs here."""
    first = {"first_input_tokens": budget // 4, "progress": 0.5} if strategy == "curriculum" else {}
    spec = specification(budget, places, parity=parity, strategy=strategy, **first)
    held = samples(rows, places, text)
    tokens, lengths = ({n: t.to(device) for n, t in part.items()} for part in collated(held))
    ids = torch.arange(rows, device=device)
    weights = {"tok_rgb@224": torch.rand(rows, places, device=device)} if strategy == "weighted" else None

    def path(module: object) -> Callable[[], MaskedBatch]:
        def call() -> MaskedBatch:
            return batch.as_batch(module.mask_fields(batch.inputs(tokens, lengths, spec, ids, weights), spec, 3))

        return call

    paths: dict[str, Callable] = {}
    if device.type == "cpu":
        per_sample = PerSampleMasking(spec, word_tokenizer(SENTINELS))
        one_by_one = "per sample" if strategy == "uniform" else UNIFORM_PER_SAMPLE
        paths[one_by_one] = lambda: [per_sample(sample) for sample in held]
        paths["compiled"] = path(compiled)
    else:
        from medmm_kernels import fused

        paths["fused"] = path(fused)
        if not parity:
            compiled_batched = torch.compile(lambda: path(batched)(), fullgraph=True)
            paths["torch.compile"] = compiled_batched
    paths["batched"] = path(batched)

    def check() -> None:
        few = min(rows, 4) if places < 4096 else 1  # the specification takes its time
        part = [{n: t[:few].cpu() for n, t in given.items()} for given in (tokens, lengths)]
        some = {n: w[:few].cpu() for n, w in weights.items()} if weights else None
        expected = batch.as_batch(naive.mask_fields(batch.inputs(*part, spec, ids[:few].cpu(), some), spec, 3))
        for name, call in paths.items():
            if not name.startswith("per sample"):
                result = call()
                assert_equal(MaskedBatch(*(type(side)(*(f[:few] for f in side)) for side in result)), expected)

    result = paths["batched"]()
    written = sum(f.numel() * f.element_size() for side in result for f in side)
    read = 8 * int(result.encoder.valid.sum() + result.decoder.valid.sum())
    shape = {"operation": f"masking {strategy}" + (" parity" if parity else "")}
    shape |= {"batch": rows, "budget": budget, "places": places, "text": text}
    return Case(paths, check, shape, {name: written + read for name in paths if not name.startswith("per sample")})


def tokenising(rows: int, text: str) -> Case:
    """Turning the texts of a batch into tokens, which masking one by one does anew for every sample."""
    tokenizer, held = word_tokenizer(SENTINELS), samples(rows, 1, text)

    def call() -> list:
        return [tokenizer.encode(sample[name]).ids for sample in held for name in ("caption", "det")]

    def check() -> None:
        if [len(ids) for ids in call()] != [len(sample[n].split()) for sample in held for n in ("caption", "det")]:
            raise SystemExit("a word is not one token; nothing is measured")

    return Case({"per sample": call}, check, {"operation": "tokenising", "batch": rows, "text": text})


def embedding(rows: int, width: int, budget: int = 256, places: int = 196) -> Case:
    """Embedding all tokens and selecting, as 4M's model does, and embedding only the selected ones."""
    spec = specification(budget, places)
    tokens, lengths = collated(samples(rows, places, "short"))
    ids = torch.arange(rows)
    masked = mask_batch(tokens, lengths, spec, seed=3, sample_ids=ids)
    encoder, generator = masked.encoder, torch.Generator().manual_seed(0)
    sizes = [30_000 if spec.modalities[n].kind == "sequence" else 16_384 for n in spec.names]
    spans = [MOST_TEXT if spec.modalities[n].kind == "sequence" else places for n in spec.names]
    table = torch.randn(sum(sizes), width, generator=generator)
    positions = torch.randn(sum(spans), width, generator=generator)
    kinds = torch.randn(len(spec.names), width, generator=generator)
    first_id, first_position = (torch.tensor([0, *x]).cumsum(0)[:-1] for x in (sizes, spans))

    rows_of_4m = full_length(masked, tokens, spec)
    hidden = torch.cat(rows_of_4m.input_hidden, 1)

    def placed(m: int) -> torch.Tensor:
        """Position and modality of all places: looked up for text, the same in every sample for an image."""
        table = positions[first_position[m] : first_position[m] + spans[m]]
        if spec.modalities[spec.names[m]].kind == "dense":
            return (table + kinds[m]).expand(rows, -1, -1)
        columns = torch.arange(rows_of_4m.ids[m].shape[1]).clamp(max=spans[m] - 1)
        return F.embedding(columns.expand(rows, -1), table) + kinds[m]

    def embed_all() -> torch.Tensor:
        x = torch.cat([F.embedding(ids + first_id[m], table) for m, ids in enumerate(rows_of_4m.ids)], 1)
        x, place, unseen = select(hidden, budget, x, torch.cat([placed(m) for m in range(len(spec.names))], 1))
        x[unseen], place[unseen] = 0.0, 0.0
        return x + place

    def embed_selected() -> torch.Tensor:
        kind = encoder.modality.clamp(min=0)
        x = F.embedding(encoder.ids + first_id[kind], table)
        x += F.embedding(encoder.position + first_position[kind], positions)
        x += F.embedding(kind, kinds)
        return x * encoder.valid[..., None]

    def check() -> None:
        if not torch.allclose(embed_all(), embed_selected(), atol=1e-6):
            raise SystemExit("embedding the selected tokens gives something else than selecting; nothing is measured")

    return Case(
        {"embed all, select": embed_all, "embed selected": embed_selected},
        check,
        {"operation": f"embedding width {width}", "batch": rows, "budget": budget, "places": places, "text": "short"},
    )


def attention(rows: int, length: int, heads: int = 6, key_heads: int = 6, width: int = 64, dense: bool = True) -> Case:
    """Forward and backward of the decoder's self-attention in eight segments: with a T×T mask, and by segments."""
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(length)
    start = (place // (length // 8) * (length // 8)).expand(rows, -1)
    end = start + length // 8
    causal = (place < length // 4).expand(rows, -1)  # the first two segments are texts
    end = torch.where(causal, place + 1, end)
    shapes = (heads, key_heads, key_heads)
    qkv = [torch.randn(rows, h, length, width, generator=generator, requires_grad=True) for h in shapes]
    gradient = torch.randn(rows, heads, length, width, generator=generator)

    def with_mask() -> torch.Tensor:
        visible = (place >= start[..., None]) & (place < end[..., None])
        return F.scaled_dot_product_attention(*qkv, attn_mask=visible[:, None], enable_gqa=heads != key_heads)

    def by_segments() -> torch.Tensor:
        return segment_attention(*qkv, start, end)

    def step(forward: Callable[[], torch.Tensor]) -> Callable[[], tuple]:
        return lambda: torch.autograd.grad(forward(), qkv, gradient)

    def check() -> None:
        if not dense:
            return
        outputs = with_mask(), by_segments()
        gradients = (torch.autograd.grad(o, qkv, gradient) for o in outputs)
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
        for theirs, ours in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

    paths = {"by segments": step(by_segments)} | ({"T×T mask": step(with_mask)} if dense else {})
    grouped = "" if heads == key_heads else f" {heads}/{key_heads} heads"
    return Case(paths, check, {"operation": f"attention{grouped}", "batch": rows, "length": length})


def training(
    rows: int, budget: int, places: int, device: torch.device, width: int = 128, layers: int = 2, vocabulary: int = 4096
) -> list[Case]:
    """A training step (masking, forward, backward, AdamW), and its masking alone: 4M's way and with the kernels.

    Masking one by one tokenises, masks and stacks samples; the kernels pad and stack samples that were tokenised once,
    then mask. 4M masks in processes beside the step, which is not imitated.
    """
    spec = specification(budget, places)
    held = [
        {n: t % vocabulary if isinstance(t, torch.Tensor) else t for n, t in sample.items()}
        for sample in samples(rows, places, "short")
    ]
    tokens, lengths = ({n: t.to(device) for n, t in part.items()} for part in collated(held))
    ids = torch.arange(rows, device=device)
    torch.manual_seed(0)
    model = EncoderDecoder(spec, vocabulary, width, layers).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    per_sample = PerSampleMasking(spec, word_tokenizer(SENTINELS))

    def mask_samples() -> FullLength:
        made = training_rows([per_sample(sample) for sample in held], spec.names)
        return FullLength(*([row.to(device) for row in field] for field in made))

    tokenised = [
        sample | {name: tokens[name][row, : lengths[name][row]].cpu() for name in lengths}
        for row, sample in enumerate(held)
    ]

    def mask_all() -> MaskedBatch:
        batch_tokens, batch_lengths = stacked(tokenised)
        part = ({n: t.to(device) for n, t in given.items()} for given in (batch_tokens, batch_lengths))
        return mask_batch(*part, spec, seed=3, sample_ids=ids)

    def step(mask: Callable[[], object], loss: Callable[[object], torch.Tensor]) -> Callable[[], None]:
        def call() -> None:
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                value = loss(mask())
            value.backward()
            optimizer.step()

        return call

    def check() -> None:
        masked = mask_all()
        with torch.no_grad():
            on_cpu = MaskedBatch(*(type(side)(*(field.cpu() for field in side)) for side in masked))
            whole = full_length(on_cpu, {n: t.cpu() for n, t in tokens.items()}, spec)
            whole = FullLength(*([row.to(device) for row in field] for field in whole))
            losses = float(model.of_batch(masked)), float(model.of_full_length(whole))
        if not abs(losses[0] - losses[1]) <= 1e-4 * losses[0]:  # not a number is refused too
            raise SystemExit(f"the two ways give the losses {losses} on the same masks; nothing is measured")

    shape = {"batch": rows, "budget": budget, "places": places, "text": "short"}
    masks = {"4M's way": mask_samples, "medmm_kernels": mask_all}
    steps = {"4M's way": step(mask_samples, model.of_full_length), "medmm_kernels": step(mask_all, model.of_batch)}
    name = f"width {width}, {layers} + {layers} layers"
    return [
        Case(steps, check, {"operation": f"training step, {name}", **shape}),
        Case(masks, lambda: None, {"operation": f"masking in the step, {name}", **shape}),  # checked by the step's
    ]
