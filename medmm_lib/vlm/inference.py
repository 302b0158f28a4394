"""Asking a model: answers in batches, greedy or sampled, and one line a question in `predictions.jsonl`."""

from collections.abc import Sequence

import torch
from torch import nn

from medmm_lib import device
from medmm_lib.evaluation.degenerate import degenerate
from medmm_lib.evaluation.text import text_scores
from medmm_lib.vlm.collator import Collator
from medmm_lib.vlm.training import BATCH, Rows

SCORES = ("exact_match", "token_f1", "rouge_l")  # that a prediction is written with


@torch.no_grad()
def answer(
    model: nn.Module, collator: Collator, rows: Rows, *, longest: int = 32, samples: int = 0,
    temperature: float = 1.0, seed: int = 0, batch_size: int = BATCH,
) -> list[str] | list[list[str]]:  # fmt: skip
    """The model's answer to every row: of at most `longest` tokens, the likeliest token each time.

    With `samples` so many answers a row, drawn at `temperature`. An answer does not depend on the batch it is in,
    except that sampled ones share one stream of random numbers from `seed`.
    """
    model.eval()
    torch.manual_seed(seed)
    tokeniser = collator.processor.tokenizer
    options = {"do_sample": False}
    if samples:
        options = {"do_sample": True, "temperature": temperature, "top_k": 0, "num_return_sequences": samples}
    texts = []
    for start in range(0, len(rows), batch_size):
        batch = collator.questions([rows[k] for k in range(start, min(start + batch_size, len(rows)))])
        batch = batch.to(next(model.parameters()).device)
        with device.autocast(model):
            made = model.generate(**batch, max_new_tokens=longest, pad_token_id=tokeniser.pad_token_id, **options)
        texts += tokeniser.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    texts = [text.strip() for text in texts]
    return [texts[k : k + samples] for k in range(0, len(texts), samples)] if samples else texts


def predictions(
    rows: Rows, answers: Sequence[str], prompt: str, samples: Sequence[Sequence[str]] | None = None
) -> list[dict[str, object]]:
    """One record a question, as `medmm_lib.evaluation` scores them.

    image_id, patient_id, type, question, prompt, reference, prediction, samples (where there are some), the metrics of
    `SCORES`, and flags: what is wrong with the prediction as a text (`degenerate`).
    """
    scores = text_scores(answers, [row["answer"] for row in rows])
    records = []
    for k, (row, text) in enumerate(zip(rows, answers, strict=True)):
        named = {name: row[name] for name in ("image_id", "patient_id", "type", "question")}
        record = {**named, "prompt": prompt.format(question=row["question"]), "reference": row["answer"]}
        record |= {"prediction": text, "flags": sorted(degenerate(text))}
        if samples is not None:
            record["samples"] = list(samples[k])
        records.append(record | {name: round(float(scores[name][k]), 4) for name in SCORES})
    return records
