"""Any subset of modalities in, any out.

Grids of tokens are decoded in parallel over a few steps, surest tokens first (MaskGIT: Chang et al. 2022), each step
given what the steps before decided, as in 4M (Mizrahi et al. 2023, section 2.3). Texts are decoded token by token; the
encoder runs once and the decoder's keys and values are kept. Chained: what was generated is given to the next.

Everywhere −1 stands for a token that is not given.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from medmm_kernels import Decoder, Encoder
from medmm_lib.fourm.layers import Memory, attend_where

if TYPE_CHECKING:
    from medmm_lib.fourm.model import FourM

Given = dict[str, torch.Tensor]


@torch.no_grad()
def generate(
    model: "FourM",
    inputs: Mapping[str, torch.Tensor],
    targets: Sequence[str],
    *,
    steps: int = 8,
    temperature: float = 0.0,
    seed: int = 0,
    cache: bool = True,
) -> Given:
    """See `FourM.generate`."""
    device, came_from = model.context.weight.device, next(iter(inputs.values()), torch.empty(0)).device
    given = checked(model, {name: rows.to(device) for name, rows in inputs.items()})
    if not as_encoder(model, given)[0].valid.any(1).all():
        raise ValueError("a row gives nothing to generate from: every token of it is −1")
    for name in targets:
        space = model.shape.spaces.get(name)
        if space is None or space.kind == "patches":
            known = [n for n, s in model.shape.spaces.items() if s.kind != "patches"]
            raise ValueError(f"target {name!r} can't be generated; expected one of {', '.join(sorted(known))}")
        if space.kind == "sequence" and name in given:
            raise ValueError(f"target {name!r} is among the inputs; a text can't be given in part")
    if steps < 1 or temperature < 0:
        raise ValueError(f"steps is {steps}, temperature {temperature}; expected steps from 1 and a temperature from 0")
    was_training = model.training
    model.eval()
    random = torch.Generator(device).manual_seed(seed)
    made: Given = {}
    for name in targets:
        if model.shape.spaces[name].kind == "sequence":
            made[name] = _text(model, given, name, temperature, random, cache)
        else:
            made[name] = _grid(model, given, name, steps, temperature, random)
        given = given | {name: made[name]}
    model.train(was_training)
    return {name: rows.to(came_from) for name, rows in made.items()}


def checked(model: "FourM", inputs: Mapping[str, torch.Tensor]) -> Given:
    """The inputs, or ValueError that names what does not fit the model."""
    spaces = model.shape.spaces
    if not inputs:
        raise ValueError(f"no inputs; expected some of {', '.join(model.shape.names)}")
    for name, rows in inputs.items():
        if name not in spaces:
            raise ValueError(
                f"input {name!r} is no modality of this model; expected some of {', '.join(model.shape.names)}"
            )
        space = spaces[name]
        if space.kind == "patches":
            if (
                rows.ndim != 3
                or rows.shape[1:] != (space.places, space.vocabulary_size)
                or not rows.is_floating_point()
            ):
                raise ValueError(
                    f"input {name!r} is {list(rows.shape)} {rows.dtype}; expected pixels in −1 to 1, "
                    f"[B, {space.places}, {space.vocabulary_size}]"
                )
            continue
        fits = rows.ndim == 2 and (
            rows.shape[1] <= space.places if space.kind == "sequence" else rows.shape[1] == space.places
        )
        if not fits:
            most = "at most " if space.kind == "sequence" else ""
            raise ValueError(
                f"input {name!r} is {list(rows.shape)}; expected [B, {most}{space.places}] tokens, −1: not given"
            )
        if rows.numel() and (int(rows.max()) >= space.vocabulary_size or int(rows.min()) < -1):
            raise ValueError(
                f"input {name!r} holds tokens {int(rows.min())} to {int(rows.max())}; expected 0 to "
                f"{space.vocabulary_size - 1}, or −1 where nothing is given"
            )
    sizes = {name: len(rows) for name, rows in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"inputs have different numbers of rows: {sizes}")
    return dict(inputs)


def as_encoder(model: "FourM", given: Given) -> tuple[Encoder, Given]:
    """Inputs side by side, as the encoder takes them, and the pixels of patches."""
    names, fields = model.shape.names, []
    for name, rows in given.items():
        patches = model.shape.spaces[name].kind == "patches"
        ids = torch.zeros(rows.shape[:2], dtype=torch.int32, device=rows.device) if patches else rows.int()
        position = torch.arange(ids.shape[1], dtype=torch.int32, device=rows.device).expand_as(ids)
        kind = torch.full_like(ids, names.index(name))
        fields.append((ids.clamp(min=0), torch.where(ids < 0, -1, kind), position, ids >= 0))
    pixels = {name: rows for name, rows in given.items() if model.shape.spaces[name].kind == "patches"}
    return Encoder(*(torch.cat(part, dim=1) for part in zip(*fields, strict=True))), _all_pixels(model, pixels, given)


def _all_pixels(model: "FourM", pixels: Given, given: Given) -> Given:
    """Pixels of every modality that is patches; none given: nothing of them is read."""
    some = next(iter(given.values()))
    absent = {
        name: some.new_zeros(len(some), space.places, space.vocabulary_size, dtype=torch.float32)
        for name, space in model.shape.spaces.items()
        if space.kind == "patches"
    }
    return absent | pixels


def _grid(
    model: "FourM", given: Given, name: str, steps: int, temperature: float, random: torch.Generator
) -> torch.Tensor:
    """The tokens of a grid [B, places], decoded in parallel."""
    space, kind = model.shape.spaces[name], model.shape.names.index(name)
    some = next(iter(given.values()))
    ids = given.get(name, torch.full((len(some), space.places), -1, device=some.device)).int().clone()
    asked_for = (ids < 0).sum(1)
    for number in range(1, steps + 1):
        encoder, pixels = as_encoder(model, given | {name: ids})
        unknown = ids < 0
        count = unknown.sum(1, keepdim=True)
        places = unknown.int().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(count.max()))].int()
        valid = torch.arange(places.shape[1], device=ids.device) < count
        decoder = Decoder(
            torch.zeros_like(places), torch.zeros_like(places), torch.where(valid, kind, -1).int(), places,
            torch.zeros_like(places), (valid * count).int(), valid,
        )  # fmt: skip
        memory = model.remember(*model.encode(encoder, pixels))
        tokens, sureness = _choose(
            model.embeddings.logits(model.decode(decoder, memory, encoder.valid), name), temperature, random
        )
        # A cosine schedule: few tokens first, while little is known.
        left = (asked_for * math.cos(math.pi / 2 * number / steps)).long() if number < steps else asked_for * 0
        rank = torch.where(valid, sureness, -math.inf).argsort(dim=1, descending=True).argsort(dim=1)
        accepted = valid & (rank < (count[:, 0] - left)[:, None])
        row, column = accepted.nonzero(as_tuple=True)
        ids[row, places[row, column].long()] = tokens[row, column].int()
    return ids


def _text(
    model: "FourM", given: Given, name: str, temperature: float, random: torch.Generator, cache: bool
) -> torch.Tensor:
    """The tokens of a text [B, longest], each row closed by its end token unless it is too long, then −1."""
    space, kind = model.shape.spaces[name], model.shape.names.index(name)
    encoder, pixels = as_encoder(model, given)
    memory = model.remember(*model.encode(encoder, pixels))
    kept: list[list[torch.Tensor]] = [[] for _ in model.decoder]
    batch, device = len(encoder.ids), encoder.ids.device
    read = torch.full((batch, 1), space.start, dtype=torch.int32, device=device)  # what each query reads
    done = torch.zeros(batch, dtype=torch.bool, device=device)
    while read.shape[1] <= space.places and not done.all():
        first = read.shape[1] - 1 if cache else 0
        position = torch.arange(first, read.shape[1], dtype=torch.int32, device=device).expand(batch, -1)
        decoded = _read_text(model, read[:, first:], kind, position, memory, encoder.valid, kept if cache else None)
        logits = model.embeddings.logits(decoded[:, -1], name).float()
        if temperature == 0:
            logits = _ending_if_likely(logits, space.end)
        token, _ = _choose(logits, temperature, random)
        read = torch.cat([read, torch.where(done, -1, token)[:, None].int()], dim=1)
        done |= token == space.end
    return read[:, 1:]


def _read_text(
    model: "FourM",
    read: torch.Tensor,
    kind: int,
    position: torch.Tensor,
    memory: list[Memory],
    given: torch.Tensor,
    kept: list[list[torch.Tensor]] | None,
) -> torch.Tensor:
    """The decoder's output for queries of one text [B, T, width]; with `kept` they follow those that it remembers."""
    if kept is None:
        place = position + 1
        ids = read.clamp(min=0)
        decoder = Decoder(ids, ids, torch.full_like(ids, kind), position, torch.zeros_like(place), place, place > 0)
        return model.decode(decoder, memory, given)
    x = model.embeddings.queries(read.clamp(min=0), torch.full_like(read, kind), position)
    for layer, keys_values, cache in zip(model.decoder, memory, kept, strict=True):
        x = layer(x, attend_where(None), keys_values, attend_where(given), cache)
    return model.decoder_norm(x)


def _ending_if_likely(logits: torch.Tensor, end: int) -> torch.Tensor:
    """Scores [B, V] in which a text may only end where that is likelier than going on, by whatever token.

    The likeliest single token is not enough: where a first box begins with any of 32 numbers, none of them may be
    likelier than the end, although a box is.
    """
    goes_on = logits.softmax(-1)[:, end] < 0.5
    return torch.where(
        goes_on[:, None] & (torch.arange(logits.shape[1], device=logits.device) == end), -math.inf, logits
    )


def _choose(logits: torch.Tensor, temperature: float, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A token of each row of scores [..., V], and the log probability it had. Temperature 0 takes the likeliest."""
    scores = logits.float().log_softmax(-1)
    if temperature == 0:
        sureness, token = scores.max(-1)
        return token, sureness
    probabilities = (scores / temperature).softmax(-1)
    token = torch.multinomial(probabilities.flatten(0, -2), 1, generator=random).view(logits.shape[:-1])
    return token, scores.gather(-1, token[..., None])[..., 0]
