"""The studies of chapter 02: what each arm changes about a fine-tuning, and how arms compare to the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from datasets import Dataset, concatenate_datasets
from torch import nn

from medmm_lib.evaluation.arms import beside_first
from medmm_lib.evaluation.closed import answer as closed_answer
from medmm_lib.evaluation.text import text_scores
from medmm_lib.vlm.adapters import ATTENTION, PROJECTIONS
from medmm_lib.vlm.collator import Collator
from medmm_lib.vlm.finetuning import Tuned, Tuning
from medmm_lib.vlm.inference import answer
from medmm_lib.vlm.training import answer_losses

RANKS = (8, 2, 32)
EPOCHS = (2, 10, 20, 50)
CLIPPINGS = {"at 1": 1.0, "none": 0.0, "at 0.1": 0.1}
CLOSED_TOKENS = 4  # a closed answer and its end


def arms(study: str, tuning: Tuning) -> dict[str, Tuning]:
    """The arms of a study that changes settings, by name. Raises `ValueError` for another study."""
    if study not in STUDIES:
        raise ValueError(f"studies has {study!r}; expected some of {', '.join(STUDIES)}")
    return STUDIES[study](tuning)


def _targets(tuning: Tuning) -> dict[str, Tuning]:
    kinds = {"attention": ATTENTION, "all projections": PROJECTIONS}
    return {name: replace(tuning, target_modules=modules) for name, modules in kinds.items()}


def _methods(tuning: Tuning) -> dict[str, Tuning]:
    """On the base in fp32, as few bits can't be trained themselves."""
    whole = replace(tuning, precision="fp32")
    slower = replace(tuning.schedule, learning_rate=tuning.schedule.learning_rate / 5)
    return {
        "LoRA": whole, "everything": replace(whole, method="full", schedule=slower),
        "biases and norms": replace(whole, method="bitfit"),
    }  # fmt: skip


def _rank(tuning: Tuning) -> dict[str, Tuning]:
    return {f"rank {rank}": replace(tuning, rank=rank, alpha=2 * rank) for rank in RANKS}


def _accumulation(tuning: Tuning) -> dict[str, Tuning]:
    """The same questions in all arms; the last one takes four times as many steps for them."""
    times, quarter = tuning.schedule, tuning.schedule.batch_size // 4
    if times.batch_size % 4:
        raise ValueError(f"batch_size is {times.batch_size}; the study accumulation needs a multiple of 4")
    changes = {
        f"{times.batch_size} at once": times,
        f"{quarter} four times": replace(times, batch_size=quarter, accumulation=4 * times.accumulation),
        f"{quarter}, four times the steps": replace(times, batch_size=quarter, steps=4 * times.steps),
    }
    return {name: replace(tuning, schedule=schedule) for name, schedule in changes.items()}


def _clipping(tuning: Tuning) -> dict[str, Tuning]:
    """The same start and the same questions in the same order, unlike the two curves of the notes."""
    return {name: tuning.timed(clipping=norm) for name, norm in CLIPPINGS.items()}


def _precision(tuning: Tuning) -> dict[str, Tuning]:
    """For questions whose answers are long enough for the context to matter."""
    context = tuning.schedule.context
    return {
        f"{precision}, {tokens} tokens": replace(tuning, precision=precision).timed(context=tokens)
        for precision in ("bf16", "8-bit", "4-bit")
        for tokens in (context, context // 2)
    }


STUDIES = {
    "targets": _targets, "methods": _methods, "rank": _rank, "accumulation": _accumulation, "clipping": _clipping,
    "precision": _precision,
}  # fmt: skip


def epochs(tuning: Tuning, questions: int) -> dict[str, Tuning]:
    """Trained for 2, 10, 20 and 50 rounds through so many questions; the learning rate ends at 0 in each."""
    a_step = tuning.schedule.batch_size * tuning.schedule.accumulation
    steps = {count: max(1, round(count * questions / a_step)) for count in EPOCHS}
    return {f"{count} epochs": tuning.timed(steps=many) for count, many in steps.items()}


def leaky(training: Dataset, test: Dataset, seed: int) -> tuple[dict[str, Dataset], Dataset]:
    """Training questions with and without a leak, and the test questions that both are scored on.

    Half of the test questions, drawn at random as a split by question would, takes the place of as many training
    questions: other questions on the same images, of the same patients. The other half is what is scored. Raises
    `ValueError` when training has fewer questions than half of the test has.
    """
    rng = np.random.default_rng(seed)
    half = len(test) // 2
    if half > len(training):
        raise ValueError(f"{len(training)} training questions can't make room for {half} of the test")
    order, kept = rng.permutation(len(test)), rng.permutation(len(training))[half:]
    leaked = concatenate_datasets([training.select(np.sort(kept)), test.select(np.sort(order[:half]))])
    return {"by patient": training, "by question": leaked}, test.select(np.sort(order[half:]))


@dataclass(frozen=True)
class Measured:
    """A model on the test questions: nats a token of each answer [N], and whether closed answers are right [N], NaN:
    open.

    Of how it was trained: `trained` weights, `stored_bytes` of all, the median `step_ms`; NaN for a base.
    """

    losses: np.ndarray
    closed: np.ndarray
    trained: int = 0
    stored_bytes: float = np.nan
    step_ms: float = np.nan


def measure(tuned: Tuned, rows: Dataset, collator: Collator) -> Measured:
    """Losses of all answers, and the closed questions by asking; all arms of a study are asked with one `collator`."""
    losses, closed = on_questions(tuned.model, collator, rows)
    return Measured(losses, closed, tuned.trained, tuned.stored_bytes, 1000 * tuned.step_seconds)


def on_questions(model: nn.Module, collator: Collator, rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """What `Measured` holds of a model: nats a token, and whether closed answers are right, twice [N]."""
    nats, tokens = answer_losses(model, collator, rows)
    asked = [k for k, form in enumerate(rows["form"]) if form == "closed"]
    said = answer(model, collator, rows.select(asked), longest=CLOSED_TOKENS)
    return nats / tokens, closed_right(rows, dict(zip(asked, said, strict=True)))


def closed_right(rows: Dataset, said: Mapping[int, str]) -> np.ndarray:
    """Whether what was said to each closed question is right: [N] of 1 and 0, NaN for rows that nothing was said to."""
    right, known = np.full(len(rows), np.nan), list(rows["answer"])
    for k, text in said.items():
        right[k] = closed_answer(text) == closed_answer(known[k])
    return right


def right(rows: Dataset, said: Sequence[str]) -> np.ndarray:
    """Whether each answer is right, [N] of 1 and 0: closed ones as yes or no, open ones word for word."""
    exact = np.asarray(text_scores(said, rows["answer"])["exact_match"], dtype=float)
    closed = [k for k, form in enumerate(rows["form"]) if form == "closed"]
    exact[closed] = closed_right(rows, {k: said[k] for k in closed})[closed]
    return exact


def turning_point(curve: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a loss over epochs is lowest, and how far it has risen by the end: learning by heart begins there."""
    epoch, lowest = min(curve, key=lambda point: point[1])
    return epoch, curve[-1][1] - lowest


def comparison(runs: Mapping[str, Sequence[Measured]], patients: Sequence[str]) -> pd.DataFrame:
    """Arms beside the first of them; each was trained with the same seeds.

    Columns: arm; `loss` and `closed` (accuracy), means over questions and seeds, each with `_low`, `_high` over
    patients, the difference to the first arm (`_difference`, `_difference_low`, `_difference_high`, `_p`) and `_seeds`,
    the standard deviation between seeds (NaN for one); `trained`, `stored_bytes`, `step_ms`.
    """
    tables = []
    for name, scores in (("loss", "losses"), ("closed", "closed")):
        each = {arm: np.stack([getattr(run, scores) for run in measured]) for arm, measured in runs.items()}
        table = beside_first(each, patients).set_index("arm")
        tables.append(table.rename(columns=lambda column, name=name: name if column == "value" else f"{name}_{column}"))
    costs = [
        {"trained": measured[0].trained, "stored_bytes": measured[0].stored_bytes,
         "step_ms": float(np.median([run.step_ms for run in measured]))}
        for measured in runs.values()
    ]  # fmt: skip
    return pd.concat([*tables, pd.DataFrame(costs, index=list(runs))], axis=1).reset_index(names="arm")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `comparison` for a page, intervals and differences in words; `planned_mib`, where it has that."""
    rows = []
    for row in table.fillna(np.nan).to_dict("records"):
        shown: dict[str, str] = {"arm": row["arm"]}
        for name, title, digits in (("loss", "held-out loss", 3), ("closed", "closed accuracy", 2)):
            shown[title] = f"{row[name]:.{digits}f}"
            spread = row[f"{name}_seeds"]
            shown[f"{title}, seeds"] = "" if np.isnan(spread) else f"± {spread:.{digits}f}"
            low, high = row[f"{name}_difference_low"], row[f"{name}_difference_high"]
            shown[f"{title} to the first [95 %]"] = (
                f"{row[f'{name}_difference']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
            )
        shown |= {"trained": f"{row['trained']:,}", "stored, MB": f"{row['stored_bytes'] / 1e6:.1f}"}
        rows.append(shown | {"ms a step": f"{row['step_ms']:.0f}"})
        if "planned_mib" in row:
            rows[-1]["step, planned MiB"] = f"{row['planned_mib']:.0f}"
    return pd.DataFrame(rows)
