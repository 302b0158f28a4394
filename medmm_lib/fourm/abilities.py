"""What a model does with held-out studies: one score a study and ability, for the model and for controls.

A score is NaN where a study has nothing to be found, such as no lesion.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medmm_lib.evaluation.controls import of_other_patients
from medmm_lib.evaluation.facts import FACTS, named_right
from medmm_lib.evaluation.regions import box_hits, box_iou, dice
from medmm_lib.evaluation.text import text_scores
from medmm_lib.fourm import boxes
from medmm_lib.fourm.boxes import Box
from medmm_lib.fourm.generation import as_encoder
from medmm_lib.fourm.modalities import Modality, Row
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.tokens import Tokenisers

BATCH = 64  # studies that are generated at a time
TEXT_METRICS = ("rouge_l", "token_f1", "bleu4", "cider")
IOUS = (0.3, 0.5)
POOLED = 16  # side of the images that a probe looks at, in pixels

Given = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Answers:
    """What is said of N studies, or known of them. None where nothing is."""

    texts: dict[str, list[str | None]]
    boxes: list[list[Box] | None]
    grids: dict[str, list[np.ndarray | None]]  # images and label maps [side, side] uint8


def known(rows: Iterable[Row], entries: dict[str, Modality], side: int) -> Answers:
    """What studies themselves say, for the modalities that a model generates."""
    rows = list(rows)
    read = {name: [entry.read(row, side) for row in rows] for name, entry in entries.items()}
    places = [None if row["boxes"] is None else [Box(tuple(b["box"]), b["name"]) for b in row["boxes"]] for row in rows]
    return _sorted(read, places, entries)


def generated(model: FourM, tokenisers: Tokenisers, given: Given, chain: Sequence[str], steps: int) -> Answers:
    """What a model makes of studies, grids decoded in `steps` parallel steps.

    A line of `chain` is `modalities given -> modality generated`, such as `patches, boxes -> caption`; it may give what
    lines before it generated. Raises ValueError for a line that can't be read or that gives what is not there.
    """
    lines = [read_line(line) for line in chain]
    targets = [target for _, target in lines]
    for number, (sources, target) in enumerate(lines):
        if missing := set(sources) - set(given) - set(targets[:number]):
            raise ValueError(
                f"chain makes {target} from {', '.join(sorted(missing))}, which is neither given nor generated before"
            )
    made = {name: [] for name in targets}
    for at in torch.arange(len(next(iter(given.values())))).split(BATCH):
        there = {name: rows[at] for name, rows in given.items()}
        for sources, target in lines:
            there[target] = model.generate({name: there[name] for name in sources}, target, steps=steps)
            made[target] += tokenisers.decode(target, there[target])
    size = len(made[targets[0]])
    places = [boxes.read(text) for text in made["boxes"]] if "boxes" in made else [None] * size
    return _sorted(made, places, tokenisers.entries)


def read_line(line: str) -> tuple[list[str], str]:
    """What a line of a chain gives, and what it generates."""
    given, arrow, target = line.partition("->")
    if not arrow or not target.strip() or not given.strip() or "," in target:
        raise ValueError(f"chain has {line!r}; expected a line such as 'patches, boxes -> caption'")
    return [name.strip() for name in given.split(",")], target.strip()


def _sorted(read: dict[str, list], places: list[list[Box] | None], entries: dict[str, Modality]) -> Answers:
    texts = {name: rows for name, rows in read.items() if entries[name].kind == "sequence" and name != "boxes"}
    grids = {name: rows for name, rows in read.items() if entries[name].kind == "dense"}
    return Answers(texts, places, grids)


def controls(given: Given, patients: Sequence[str], seed: int) -> dict[str, Given]:
    """The same inputs under two controls: nothing to see (zeros), and those of another patient."""
    another = torch.from_numpy(of_other_patients(patients, seed))
    return {
        "blank scan": {name: torch.zeros_like(rows) for name, rows in given.items()},
        "another patient's scan": {name: rows[another] for name, rows in given.items()},
    }


def scores(made: Answers, truth: Answers, entries: dict[str, Modality]) -> dict[str, np.ndarray]:
    """Every ability of N studies, name → [N]:

    - `<text> <metric>`: the text metrics of `medmm_lib.evaluation.text`; `caption <fact>`: whether the caption names
      plane, side or finding as the reference does;
    - `boxes <IoU>`: share of a study's boxes that a generated one reaches that overlap with; `boxes F1 <IoU>`: the
      same, counting boxes too many as well, 1 where there are none and none is made; `boxes IoU`: the best overlap,
      mean over a study's boxes;
    - `<label map> <class>`: Dice of each class but the first, the background, where it is known to be there;
      `<label map> Dice`: their mean.
    """
    found: dict[str, np.ndarray] = {}
    for name, texts in made.texts.items():
        references = truth.texts[name]
        there = np.array([reference is not None for reference in references])
        for metric, values in text_scores(texts, references).items():
            if metric in TEXT_METRICS:
                found[f"{name} {metric}"] = np.where(there, values, np.nan)
        if name == "caption":
            for fact, read in FACTS.items():
                found[f"{name} {fact}"] = named_right([t or "" for t in texts], [t or "" for t in references], read)
    if any(places is not None for places in made.boxes):
        found |= _box_scores(made.boxes, truth.boxes)
    for name, maps in made.grids.items():
        if not entries[name].classes:
            continue
        overlap = np.array(
            [_dice(given, wanted, entries[name].classes) for given, wanted in zip(maps, truth.grids[name], strict=True)]
        )  # [N, classes]
        found |= {f"{name} {number}": overlap[:, number] for number in range(1, entries[name].classes)}
        there = ~np.isnan(overlap[:, 1:])
        with np.errstate(invalid="ignore"):
            found[f"{name} Dice"] = np.nansum(overlap[:, 1:], axis=1) / there.sum(1)
    return found


def _dice(given: np.ndarray, wanted: np.ndarray | None, classes: int) -> np.ndarray:
    """Dice of the classes that are known to be there [classes], whatever else was drawn."""
    if wanted is None:
        return np.full(classes, np.nan)
    return np.where(np.isin(np.arange(classes), wanted), dice(given, wanted, classes), np.nan)


def _box_scores(made: list[list[Box] | None], truth: list[list[Box] | None]) -> dict[str, np.ndarray]:
    names = [f"boxes {kind}{iou}" for iou in IOUS for kind in ("", "F1 ")]
    found = {name: np.full(len(truth), np.nan) for name in (*names, "boxes IoU")}
    for row, pair in enumerate(zip(made, truth, strict=True)):
        given, wanted = (np.array([box.place for box in places or []]).reshape(-1, 4) for places in pair)
        for iou in IOUS:
            hits = box_hits([given], [wanted], iou=iou)
            if len(wanted):
                found[f"boxes {iou}"][row] = hits.mean()
            if truth[row] is not None:
                both = len(wanted) + len(given)
                found[f"boxes F1 {iou}"][row] = 2 * hits.sum() / both if both else 1.0
        if len(wanted):
            found["boxes IoU"][row] = box_iou(wanted, given).max(1, initial=0.0).mean()
    return found


def majority_maps(
    training: Sequence[tuple], maps: np.ndarray, asked: Sequence[tuple], classes: int
) -> list[np.ndarray]:
    """The prior of label maps: at every pixel what most training studies of the same kind have there.

    `training` and `asked` hold the kind of each study, such as (modality, plane, region); `maps` [N, side, side]. A
    kind that training does not have gets the majority of all.
    """
    of_kind: dict[tuple, list[int]] = defaultdict(list)
    for row, kind in enumerate(training):
        of_kind[kind].append(row)

    def majority(rows: list[int]) -> np.ndarray:
        return np.stack([(maps[rows] == number).sum(0) for number in range(classes)]).argmax(0).astype(np.uint8)

    drawn = {kind: majority(of_kind.get(kind, list(range(len(maps))))) for kind in set(asked)}
    return [drawn[kind] for kind in asked]


@torch.no_grad()
def features(model: FourM, given: Given) -> np.ndarray:
    """The encoder as a plain vision backbone: the mean of its output over what is given, [N, width]."""
    model.eval()
    means, device = [], model.context.weight.device
    for at in torch.arange(len(next(iter(given.values())))).split(BATCH):
        encoder, pixels = as_encoder(model, {name: rows[at].to(device) for name, rows in given.items()})
        encoded, _ = model.encode(encoder, pixels)
        means.append((encoded * encoder.valid[..., None]).sum(1) / encoder.valid.sum(1, keepdim=True))
    return torch.cat(means).float().cpu().numpy()


def probe(training: np.ndarray, labels: Sequence[str], held_out: np.ndarray) -> np.ndarray:
    """What a linear classifier trained on features [N, D] and labels [N] says of held-out features [M, D]: [M]."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.1))
    return classifier.fit(training, np.asarray(labels)).predict(held_out)
