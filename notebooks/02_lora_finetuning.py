# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     notebook_metadata_filter: kernelspec,medmm,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   medmm:
#     reads: []
#     runs: []
#     trains: true
# ---

# %% [markdown]
# # Fine-tuning a small open model
#
# **Question.** A hospital has scans, questions about them, and a yearly budget. Can it adapt a small open vision–language model
# (PaliGemma [@beyer2024]) to its own questions on one modest GPU, by storing the model in 4 bits and training a few added weights
# (QLoRA [@dettmers2023])? What does that take in memory, what does it gain, and where does it start to learn by heart?

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to
data: str = "phantom"  # phantom, phantom_large or medpix
data_root: str = ""  # folder of medpix; empty: MEDMM_DATA
removed_flags: list[str] = ["volumetric", "measurement", "history", "long_answer", "answer_given_away", "filler", "not_visual"]  # quality flags whose questions are left out
removed_types: list[str] = ["caption"]  # what left-out questions ask about; the embedded base has learned from captions
base: str = "embedded"  # embedded, a name on the hub such as google/paligemma-3b-mix-224, or a folder
side: int = 64  # of an image, pixels; this and the next six: of the embedded base
patch: int = 16  # pixels along the side of a token
vocabulary: int = 1024  # text tokens, at most
base_steps: int = 400  # training steps on captions, keywords and literature
base_batch_size: int = 16  # of these a step
base_learning_rate: float = 1.0e-3  # peak
base_context: int = 40  # text tokens of a lesson; longer answers are cut off, longer prompts left out
prompt: str = "answer en {question}"  # the notes used "answer {question}"
context: int = 72  # text tokens of a question and its answer; the image's come on top
precision: str = "4-bit"  # how the base is stored: 4-bit, 8-bit, bf16 or fp32
method: str = "lora"  # lora, bitfit (biases and norms) or full
rank: int = 8  # of LoRA
alpha: int = 16  # LoRA's update counts alpha / rank
dropout: float = 0.0  # before LoRA
target_modules: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]  # layers that get LoRA
tune_vision: bool = True  # also in the vision tower, where it has layers of these names
checkpointing: bool = False  # compute activations twice instead of keeping them
steps: int = 180  # of fine-tuning
batch_size: int = 16  # questions at once
accumulation: int = 1  # batches a step
clipping: float = 1.0  # largest norm of the gradient; 0: none
learning_rate: float = 5.0e-3  # peak
warm_up: float = 0.05  # share of the steps
seeds: list[int] = [0, 1, 2]  # the same model is tuned once with each
evaluations: int = 3  # how often the loss on validation questions is measured
validation_questions: int = 128  # that it is measured on, drawn at random; 0: all
save_steps: int = 0  # steps between checkpoints; 0: none
max_minutes: float = 0.0  # of each fine-tuning; it stops with a checkpoint and goes on in the next run. 0: no limit
longest: int = 16  # tokens of an answer
samples: int = 5  # answers drawn to each closed question; the most frequent counts
temperature: float = 1.0  # of these
planned: list[str] = ["google/paligemma-3b-mix-224", "google/paligemma-3b-mix-448", "google/paligemma2-3b-mix-448", "google/paligemma2-10b-mix-448"]  # bases whose memory is planned
planned_batch_size: int = 4  # questions
planned_context: int = 256  # text tokens
other_models: list[str] = []  # vision-language models and CLIPs of the hub that are asked the same test questions
studies: list[str] = []  # targets, methods, rank, accumulation, clipping, precision, epochs, flags, leak
study_steps: int = 180  # of each arm
study_seeds: list[int] = [0, 1]  # each arm is trained once with each
study_questions: int = 320  # that the study epochs goes through
push_to_hub: str = ""  # repository to upload the adapter to (private), such as user/name; empty: no upload
seed: int = 0  # of the embedded base and of samples

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# None for the embedded base on phantom questions. For MedPix 2.0, its folder in `MEDMM_DATA`. For a PaliGemma of the hub: accept its licence there,
# set `HF_TOKEN`, and have a GPU. [Chapter 01](01_data_preparation.ipynb) says how the questions were made and what their flags mean.

# %%
#| code-summary: "Imports"
from collections import Counter
from functools import cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from IPython.display import HTML, Markdown, display

import medmm_lib.data
from medmm_lib import device, parallel, paths, plots, results, sources
from medmm_lib.data import questions
from medmm_lib.data.asked import with_images
from medmm_lib.evaluation import predictions as scoring
from medmm_lib.evaluation.closed import majority_right
from medmm_lib.evaluation.controls import control_table, controls
from medmm_lib.evaluation.degenerate import degenerate
from medmm_lib.evaluation.gathered import file_of
from medmm_lib.evaluation.intervals import interval, mean, paired_difference
from medmm_lib.evaluation.scored import cases
from medmm_lib.vlm import card, embedded, explore, hub, inference, memory
from medmm_lib.vlm import studies as arms_of
from medmm_lib.vlm.adapters import ATTENTION, PROJECTIONS
from medmm_lib.vlm.bases import BASES
from medmm_lib.vlm.collator import CAPTION, Collator
from medmm_lib.vlm.finetuning import Tuning, finetune, training_peak
from medmm_lib.vlm.loading import load, load_processor
from medmm_lib.vlm.training import Schedule

CHAPTER = "02_lora_finetuning"
FOLDER = paths.artifacts(profile, CHAPTER)
EMBEDDED = base == "embedded"
KNOWN_STUDIES = [*arms_of.STUDIES, "epochs", "flags", "leak"]
if wrong := [name for name in studies if name not in KNOWN_STUDIES]:
    raise ValueError(f"studies has {', '.join(wrong)}; expected some of {', '.join(KNOWN_STUDIES)}")
if "{question}" not in prompt:
    raise ValueError(f"prompt is {prompt!r}; expected the place of the question in it, as in 'answer en {{question}}'")

# %%
#| code-summary: "Read the questions"
dataset = medmm_lib.data.load(data, data_root or None)
fingerprint = medmm_lib.data.fingerprint(data, data_root or None)
record = results.RunRecord(CHAPTER, parameters, data={"name": data, "fingerprint": fingerprint})
made = questions.make(dataset)
kept = questions.without_flags(made, removed_flags)
rows = {split: with_images(dataset[split], kept[split], side=side if EMBEDDED else None, without=removed_types) for split in dataset}
if 0 < validation_questions < len(rows["validation"]):
    rows["validation"] = rows["validation"].select(np.sort(np.random.default_rng(seed).permutation(len(rows["validation"]))[:validation_questions]))
test = rows["test"]
patients = list(test["patient_id"])
key = sources.json_hash([fingerprint, removed_flags, removed_types, validation_questions, seed])

# %%
#| code-summary: "The base"
if EMBEDDED:
    lessons = embedded.lessons(dataset["train"], made["train"], side)
    texts = [text for row in lessons for text in (row["question"] + "\n", row["answer"])]
    texts += [text for row in zip(rows["train"]["question"], rows["train"]["answer"], strict=True) for text in (prompt.format(question=row[0]) + "\n", row[1])]
    shape = embedded.EmbeddedShape(side=side, patch=patch, vocabulary=vocabulary)
    processor = embedded.make_processor(texts, shape)
    all_lessons, lessons = len(lessons), embedded.fitting(lessons, processor, base_context)
    taught = Counter(row["question"] for row in lessons)
    schedule = Schedule(base_steps, base_batch_size, base_learning_rate, base_context, seed)
    source = str(embedded.pretrained(lessons, processor, FOLDER / "base", shape, schedule, key=sources.json_hash([fingerprint, texts])))
else:
    source = base
tuning = Tuning(
    Schedule(steps, batch_size, learning_rate, context, seeds[0], accumulation, clipping, warm_up), precision, method, rank, alpha, dropout,
    tuple(target_modules), tune_vision, prompt, checkpointing,
)
collator = Collator(load_processor(source), prompt, context)
untuned = load(source, precision)
before = arms_of.Measured(*arms_of.on_questions(untuned, collator, test))

# %%
#| code-summary: "Fine-tune it, once with each seed"
saving = {"save_strategy": "steps", "save_steps": save_steps} if save_steps else {}
runs = [finetune(source, tuning.timed(seed=one), rows["train"], FOLDER / "tuning", key=key, held_out=rows["validation"], evaluations=evaluations, max_minutes=max_minutes, **saving) for one in seeds]
first = runs[0]
after = [arms_of.measure(run, test, collator) for run in runs]
losses = np.mean([one.losses for one in after], axis=0)
closed = np.mean([one.closed for one in after], axis=0)
spread = {name: float(np.std([np.nanmean(getattr(one, name)) for one in after], ddof=1)) if len(after) > 1 else float("nan") for name in ("losses", "closed")}
plan = memory.plan(
    untuned.config, quantised=precision.endswith("-bit"), lora_rank=rank, target_modules=target_modules, method=method, tune_vision=tune_vision,
    bits=8 if precision == "8-bit" else 4, dropout=dropout, batch_size=batch_size, context=context,
)
plan = plan.checkpointed if checkpointing else plan
record.metrics |= {
    "train_questions": len(rows["train"]), "test_questions": len(test), "test_patients": len(set(patients)), "base_parameters": plan.parameters,
    "trained": first.trained, "trained_percent": plan.trainable_percent, "stored_mb": first.stored_bytes / 1e6, "steps_done": first.trainer.state.global_step, "step_ms": 1000 * first.step_seconds,
    "loss_base": float(before.losses.mean()), "loss_tuned": float(losses.mean()), "loss_seeds_sd": spread["losses"],
    "closed_base": float(np.nanmean(before.closed)), "closed_tuned": float(np.nanmean(closed)), "closed_seeds_sd": spread["closed"],
    "frozen_weights_identical": "yes" if all(run.frozen_before == run.frozen_after for run in runs) else "no", "planned_training_gib": plan.total_gib,
}
if torch.cuda.is_available():
    record.metrics["measured_training_gib"] = training_peak(source, tuning, [rows["train"][k] for k in range(batch_size)])
for one, run in zip(seeds, runs, strict=True):
    record.curves[f"losses_seed_{one}"] = [{"step": row["step"], "split": split, "loss": row[name]} for row in run.log for split, name in (("train", "loss"), ("validation", "eval_loss")) if name in row]

# %%
#| code-summary: "Ask base and tuned model the test questions, and the tuned one under controls"
answers = {name: inference.answer(model, collator, test, longest=longest) for name, model in (("base", untuned), ("tuned", first.model))}
of_form = {form: np.flatnonzero(np.array(test["form"]) == form).tolist() for form in ("closed", "open")}
closed_rows = test.select(of_form["closed"])
drawn = inference.answer(first.model, collator, closed_rows, longest=arms_of.CLOSED_TOKENS, samples=samples, temperature=temperature, seed=seed)
sampled = dict(zip(of_form["closed"], drawn, strict=True))
majority = majority_right(drawn, closed_rows["answer"])
under = {name: changed["prediction"] if "prediction" in changed.column_names else inference.answer(first.model, collator, changed, longest=longest) for name, changed in controls(test, rows["train"], seed=seed).items()}
right = {name: arms_of.right(test, said) for name, said in (answers | under).items()}
beside = {form: control_table(right["tuned"][chosen], {name: right[name][chosen] for name in under}, np.array(patients)[chosen]) for form, chosen in of_form.items()}
best_control = {form: table[table["condition"] != "model"].sort_values("value").iloc[-1] for form, table in beside.items()}
written = {name: inference.predictions(test, said, prompt, [sampled.get(k, []) for k in range(len(test))] if name == "tuned" else None) for name, said in answers.items()}
for name, lines in written.items():
    scoring.write(lines, file_of(FOLDER / name))
for condition, said in under.items():
    scoring.write(inference.predictions(test, said, prompt), file_of(FOLDER / "tuned", condition))
scored = {name: scoring.score(scoring.read(file_of(FOLDER / name)), seed=seed) for name in written}
record.metrics |= {"closed_majority_of_samples": float(majority.mean())} | {f"open_{name}": float(right[name][of_form["open"]].mean()) for name in answers}
for form, one in best_control.items():
    record.metrics |= {f"{form}_best_control": float(one["value"]), f"{form}_best_control_name": one["condition"], f"{form}_lead": float(one["lead"]), f"{form}_lead_low": float(one["lead_low"]), f"{form}_lead_high": float(one["lead_high"])}
record.metrics |= {f"degenerate_{name}_percent": 100 * float(np.mean([bool(degenerate(text)) for text in said])) for name, said in answers.items()}
for name, result in scored.items():
    record.metrics |= {f"{metric}_{name}": values["mean"] for metric, values in result["parts"]["all"]["metrics"].items()}

# %%
#| code-summary: "The adapter, with its card"
if method == "lora" and parallel.MAIN:
    figures = {"closed accuracy": f"{np.nanmean(after[0].closed):.3f} (base: {np.nanmean(before.closed):.3f}, best control: {best_control['closed']['value']:.3f})", "open questions right": f"{record.metrics['open_tuned']:.3f} (base: {record.metrics['open_base']:.3f}, best control: {best_control['open']['value']:.3f})", "held-out loss, nats a token": f"{after[0].losses.mean():.3f} (base: {before.losses.mean():.3f})"}
    named = ("the embedded base of chapter 02", "MIT, as medmm") if EMBEDDED else (base, hub.licence(base))
    card.save(first, tuning, *named, FOLDER / "adapter", data={"name": data, "fingerprint": fingerprint}, figures=figures)
    if push_to_hub and first.trainer.finished:
        print(card.push(FOLDER / "adapter", push_to_hub))


# %%
#| code-summary: "Helpers for prose and tables"
def n(name, digits=3):
    """A number of this run for prose."""
    value = record.metrics.get(name)
    return results.number(value if value is None or isinstance(value, str) else float(f"{value:.{digits}g}"))


def verdict(row):
    """What a difference to a control says, from its interval."""
    return "ahead" if row["lead_low"] > 0 else "behind" if row["lead_high"] < 0 else "too close to tell"

def with_interval(values, groups=patients, digits=2):
    """Mean and 95 % interval over patients, for a table."""
    estimate = interval(mean(np.asarray(values, dtype=float)), groups)
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


# %%
#| code-summary: "Studies that change a setting"
study_tuning = tuning.timed(steps=study_steps)
tables = {}


everything = {split: with_images(dataset[split], kept[split], side=side if EMBEDDED else None) for split in ("train", "test")} if "precision" in studies else {}

@cache
def measured(one, whole=False):
    """A tuned model on the test questions, or on those of removed types too; arms with the same settings are trained once."""
    for number, known in zip(seeds, after, strict=True):
        if not whole and one == tuning.timed(seed=number):
            return known
    part, name = (everything, f"{key} whole") if whole else (rows, key)
    return arms_of.measure(finetune(source, one, part["train"], FOLDER / "studies", key=name), part["test"], collator)

for study in (name for name in studies if name in arms_of.STUDIES):
    arms, whole = arms_of.arms(study, study_tuning), study == "precision"
    tables[study] = arms_of.comparison({name: [measured(one.timed(seed=each), whole) for each in study_seeds] for name, one in arms.items()}, list(everything["test"]["patient_id"]) if whole else patients)
    if study == "precision":
        plans = [memory.plan(untuned.config, quantised=one.precision.endswith("-bit"), bits=8 if one.precision == "8-bit" else 4, method=method, dropout=dropout, lora_rank=rank, target_modules=target_modules, tune_vision=tune_vision, batch_size=batch_size, context=one.schedule.context) for one in arms.values()]
        tables[study]["planned_mib"] = [1024 * (one.checkpointed if checkpointing else one).total_gib for one in plans]

# %%
#| code-summary: "Studies that change the questions"
folder = FOLDER / "studies"
rounds = []
if "epochs" in studies:
    few = rows["train"].select(np.sort(np.random.default_rng(seed).permutation(len(rows["train"]))[:study_questions]))
    found = {}
    for name, one in arms_of.epochs(study_tuning, len(few)).items():
        for stopped in (False, True) if name.startswith(str(arms_of.EPOCHS[-1])) else (False,):
            title = f"{name}, best on validation" if stopped else name
            many = [finetune(source, one.timed(seed=each), few, folder / ("stopped" if stopped else "epochs"), key=f"{key} {study_questions}", held_out=rows["validation"], evaluations=10, patience=10 if stopped else 0) for each in study_seeds]
            found[title] = [arms_of.measure(run, test, collator) for run in many]
            per_epoch = len(few) / (batch_size * accumulation)
            rounds += [{"arm": title, "epoch": row["step"] / per_epoch, "split": split, "loss": row[what]} for run in many for row in run.log for split, what in (("train", "loss"), ("validation", "eval_loss")) if what in row]
    tables["epochs"] = arms_of.comparison(found, patients)
if "flags" in studies:
    unfiltered = with_images(dataset["train"], made["train"], side=side if EMBEDDED else None, without=removed_types)
    flagged = sum(map(bool, unfiltered["flags"]))
    trained = {"without flagged questions": [measured(study_tuning.timed(seed=each)) for each in study_seeds]}
    trained["with all questions"] = [arms_of.measure(finetune(source, study_tuning.timed(seed=each), unfiltered, folder, key=f"{fingerprint} all"), test, collator) for each in study_seeds]
    tables["flags"] = arms_of.comparison(trained, patients)
    record.metrics |= {"flagged_questions": flagged, "unfiltered_questions": len(unfiltered)}
if "leak" in studies:
    parts, scored_rows = arms_of.leaky(rows["train"], test, seed)
    trained = {f"split {name}": [arms_of.measure(finetune(source, study_tuning.timed(seed=each), part, folder, key=f"{key} {name}"), scored_rows, collator) for each in study_seeds] for name, part in parts.items()}
    tables["leak"] = arms_of.comparison(trained, scored_rows["patient_id"])
for name, table in tables.items():
    record.curves[f"study_{name}"] = table.astype(object).where(table.notna(), None).to_dict("records")
    for row in table.to_dict("records"):
        arm = f"{name}_{row['arm']}".replace(" ", "_").replace(",", "")
        record.metrics |= {f"{arm}_loss_difference": row["loss_difference"], f"{arm}_closed_difference": row["closed_difference"]}
if rounds:
    record.curves["epochs"] = rounds

# %%
#| code-summary: "Gains over the base, for the takeaway"
gain = {"loss": paired_difference(losses, before.losses, patients), "closed": paired_difference(closed, before.closed, patients)}
record.metrics |= {"loss_gain": gain["loss"].value, "closed_gain": gain["closed"].value}
NOTES = "google/paligemma-3b-mix-224"
notes_plan = memory.plan(NOTES, quantised=True, lora_rank=8, target_modules=["q_proj", "k_proj", "v_proj"], batch_size=planned_batch_size, context=planned_context)
small_plan = memory.plan(NOTES, batch_size=planned_batch_size, context=planned_context).checkpointed
room = [gpu for gpu, gib in memory.GPUS.items() if small_plan.fits(gib)]
full_plan = memory.plan(NOTES, quantised=False, method="full", batch_size=planned_batch_size, context=planned_context).checkpointed

# %%
#| echo: false
plots.box(f"""
- PaliGemma-3B takes {notes_plan.weights_gib:.2f} GiB in bf16 and {notes_plan.quantised_gib + notes_plan.adapter_gib:.2f} GiB with its layers in 4 bits and a LoRA adapter. A training step of all its weights on {planned_batch_size} questions is planned to take {full_plan.total_gib:.0f} GiB,
  one of LoRA on 4 bits {small_plan.total_gib:.1f} GiB, both with checkpointing. The latter fits: {', '.join(room) or 'none of three GPUs'}.
- On held-out patients the tuned base ({n('base_parameters', 8)} weights, {n('trained', 8)} trained) loses {n('loss_tuned')} nats a token where the untuned one loses {n('loss_base')}.{f" Seeds differ by {n('loss_seeds_sd', 2)} (standard deviation)." if len(seeds) > 1 else ""}
- It answers {100 * record.metrics['closed_tuned']:.0f} % of yes/no questions right (untuned: {100 * record.metrics['closed_base']:.0f} %{f"; seeds: ± {100 * record.metrics['closed_seeds_sd']:.1f}" if len(seeds) > 1 else ""}). Open questions, by the first seed's model and word for word:
  {100 * record.metrics['open_tuned']:.0f} % (untuned: {100 * record.metrics['open_base']:.0f} %).
- {' '.join(f"The best control on {form} questions, {one['condition']}, has {100 * one['value']:.0f} % right, the first seed's model {100 * (one['value'] + one['lead']):.0f} %: {one['lead']:+.2f} [{one['lead_low']:+.2f}, {one['lead_high']:+.2f}], {verdict(one)}." for form, one in best_control.items())}
- No frozen weight changed: {n('frozen_weights_identical')}.
""", "callout-tip", title="Takeaway")

# %% [markdown]
# ## What it takes in memory
#
# Before anything is downloaded: how large is the model, and would training fit? The configuration alone says it. The model is built on PyTorch's
# `meta` device, which knows shapes and no numbers. The notes' figures come out to the last digit.

# %%
#| label: tbl-notes
#| tbl-cap: "The internship notes' figures for PaliGemma-3B at 224 pixels, and what this page computes. GiB are 2^30 bytes; the notes write GB."
attention, everything = (memory.plan(NOTES, target_modules=modules) for modules in (ATTENTION, PROJECTIONS))
published = pd.read_csv(paths.REPORT / "published.csv").set_index("what")["value"]
ours = {
    "PaliGemma-3B: model size, GB": f"{notes_plan.weights_gib:.4f}",
    "PaliGemma-3B: quantised model with adapter, GB": f"{notes_plan.quantised_gib + notes_plan.adapter_gib:.4f}",
    "PaliGemma-3B: trained with q, k, v, o, %": f"{attention.trainable_percent:.3f}",
    "PaliGemma-3B: trained with all projections, %": f"{everything.trainable_percent:.3f}",
}
record.metrics |= {"notes_model_gib": notes_plan.weights_gib, "notes_quantised_gib": notes_plan.quantised_gib + notes_plan.adapter_gib, "notes_attention_percent": attention.trainable_percent, "notes_projections_percent": everything.trainable_percent}
how = [f"{notes_plan.parameters:,} weights, 2 bytes each", "linear layers but the output at half a byte, the rest at 2; LoRA of rank 8 on q, k, v in fp32", f"{attention.trainable:,} LoRA weights", f"{everything.trainable:,} LoRA weights"]
plots.table(pd.DataFrame({"": list(ours), "notes": [f"{published[name]:g}" for name in ours], "computed": list(ours.values()), "how": how}))

# %%
#| label: tbl-layers
#| tbl-cap: "The largest layers of PaliGemma-3B. An asterisk stands for the layer's number. The output shares its weight with the word embedding."
layers = pd.DataFrame(memory.layer_table(memory.on_meta(NOTES)))
rest = layers.iloc[12:]
shown = pd.concat([layers.iloc[:12], pd.DataFrame([{"layer": f"{len(rest)} smaller ones", "shape": "", "count": rest["count"].sum()} | rest[["weights", "GiB", "GiB, 4-bit"]].sum().to_dict()])])
plots.table(shown.assign(count=shown["count"].astype(int), weights=[f"{weights:,.0f}" for weights in shown["weights"]], **{name: [f"{size:.3f}" for size in shown[name]] for name in ("GiB", "GiB, 4-bit")}))

# %% [markdown]
# Training a weight takes more than storing it: there is also its gradient, and Adam keeps two running means. That is the notes' "four times the
# layer". On top come *activations*, what the forward pass keeps for the backward pass. They are counted here tensor by tensor, as PyTorch would
# keep them, while the model runs on the `meta` device; a test compares the count with a real pass. LoRA makes the first part small; 4 bits make the stored weights small; only fewer or
# shorter questions, or checkpointing, make activations small.

# %%
#| label: fig-memory
#| fig-cap: "One training step of PaliGemma-3B by part. Lines: what two GPUs have for programs."
#| fig-alt: "Stacked bars of memory by part for full training, LoRA, and LoRA on a base in 4 bits, with and without checkpointing."
kinds = {}
for name, options in explore.KINDS.items():
    one = memory.plan(NOTES, batch_size=planned_batch_size, context=planned_context, **options)
    kinds |= {name: one, f"{name}, checkpointing": one.checkpointed}
figure = go.Figure()
for part in notes_plan.training_gib:
    figure.add_bar(name=part, y=list(kinds), x=[one.training_gib[part] for one in kinds.values()], orientation="h")
for gpu, room in memory.GPUS.items():
    if room < 40:
        figure.add_vline(x=room, line_dash="dot", annotation_text=gpu, annotation_position="top")
figure.update_layout(barmode="stack", height=360, legend={"y": -0.2, "yanchor": "top"}, margin={"t": 60})
figure.update_xaxes(title=f"GiB, {planned_batch_size} questions of {planned_context} text tokens")
figure.update_yaxes(autorange="reversed")
record.metrics |= {f"plan_{name}_gib".replace(" ", "_").replace(",", ""): one.total_gib for name, one in kinds.items()}
plots.show(figure, alt="; ".join(f"{name}: {one.total_gib:.1f} GiB" for name, one in kinds.items()) + ".")

# %%
#| label: tbl-fits
#| tbl-cap: "Which base can be trained on which GPU: GiB of a step with LoRA on the attention layers, and whether it fits with 1 GiB left free. Temporary copies are not counted."
fits = []
for name in planned:
    small = memory.plan(name, batch_size=planned_batch_size, context=planned_context)
    whole = memory.plan(name, batch_size=planned_batch_size, context=planned_context, quantised=False, method="full")
    for title, one in {"LoRA, 4-bit base": small, "the same, checkpointing": small.checkpointed, "everything, checkpointing": whole.checkpointed}.items():
        fits.append({"base": name.removeprefix("google/"), "trained": title, "GiB": f"{one.total_gib:.1f}"} | {gpu: "yes" if one.fits(room) else "no" for gpu, room in memory.GPUS.items()})
plots.table(pd.DataFrame(fits))

# %%
#| echo: false
held = memory.offload(memory.on_meta(NOTES), gpu_gib=4, cpu_gib=1)
display(Markdown(
    f"To *ask* a model, its weights are enough, and layers that do not fit can wait in the computer's memory or on disk until they are needed, at the cost of time. With 4 GiB free on the GPU and "
    f"1 GiB beside it, accelerate would put {held['GPU']:.1f} GiB of PaliGemma-3B on the GPU, {held['CPU']:.1f} GiB in memory and {held['disk']:.1f} GiB on disk."
))
if "measured_training_gib" in record.metrics:
    display(Markdown(f"One step of this run was planned to take {n('planned_training_gib')} GiB, its batch filled to the context; the GPU's highest count in one step was {n('measured_training_gib')} GiB."))
else:
    display(Markdown("How far the plan is from a GPU's own count is measured where there is one: this run had none."))

# %% [markdown]
# In JupyterLab the widget plans any of these bases; on the website, the planner of [chapter 07](07_scaling_laws.ipynb) does so for some, with what a year of it costs.

# %% tags=["widget"]
explore.memory_widget([name for name in BASES if "-mix-" in name])

# %% [markdown]
# ## What is trained
#
# LoRA [@hu2021] leaves a weight $W$ as it is and adds a product of two thin matrices beside it:
#
# $$ y = W x + \frac{\alpha}{r} B A x, \qquad A \in \mathbb{R}^{r \times k},\; B \in \mathbb{R}^{d \times r}. $$
#
# $B$ starts at zero, so the tuned model starts as the base. Only $A$ and $B$ have gradients and Adam's means; $W$ can be stored in few bits. In *NF4* [@dettmers2023]
# each weight is one of 16 values, spaced as a normal distribution's, times a scale that 64 weights share.

# %%
#| echo: false
display(HTML(explore.LORA))

# %% [markdown]
# A question is read as PaliGemma was pretrained to read it: image, prompt and answer in one row. Image and prompt see each other (*prefix*), the answer's words see what
# is before them (*suffix*), and only the answer and its end are to be predicted. Getting these masks wrong is the most frequent silent mistake
# with this kind of model, so a test compares them with a row written by hand.

# %%
#| label: tbl-row
#| tbl-cap: "One training question as the model reads it. ␣ marks a space."
plots.table(explore.as_read(collator, rows["train"][0]))

# %% [markdown]
# ## The base and its questions

# %%
#| echo: false
told = f"The base is {base}, licence {hub.licence(base)}." if not EMBEDDED else (
    f"The base of this run is embedded: PaliGemma's own classes with {n('base_parameters', 8)} weights, trained for {base_steps} steps on {taught[CAPTION]:,} captions and {taught[embedded.KEYWORDS]:,} lists of keywords of the training split, and {taught.total() - taught[CAPTION] - taught[embedded.KEYWORDS]:,} questions on its literature, which need no image. Answers end after {base_context} tokens; {all_lessons - len(lessons)} lessons whose prompt is longer were left out. Nobody has asked it about an image yet. "
    "Everything after that is what a PaliGemma of the hub goes through: quantising, adapters, the same collator and Trainer."
)
display(Markdown(told + f" Questions come from templates over the data's own fields ([chapter 01](01_data_preparation.ipynb)). Left out here are literature questions, which have no image{', and questions that ask for: ' + ', '.join(removed_types) if removed_types else ''}."))

# %%
#| label: tbl-questions
#| tbl-cap: "Questions by split. Closed: answered yes or no."
plots.table(pd.DataFrame([{"split": split, "patients": len(set(part["patient_id"]))} | {form: list(part["form"]).count(form) for form in ("open", "closed")} for split, part in rows.items()]))

# %% [markdown]
# ## Fine-tuning

# %%
#| label: fig-losses
#| fig-cap: "Loss while fine-tuning, nats a token of the answers: training (lines, all tokens of a step alike) and validation questions (dots, all answers alike), one colour a seed."
#| fig-alt: "Training loss as a line and validation loss as dots over steps, one colour a seed."
figure = go.Figure()
for k, one in enumerate(seeds):
    curve = pd.DataFrame(record.curves[f"losses_seed_{one}"])
    for split, mode in (("train", "lines"), ("validation", "markers")):
        part = curve[curve["split"] == split]
        figure.add_scatter(x=part["step"], y=part["loss"], mode=mode, name=f"seed {one}, {split}", marker={"size": 9}, line={"color": plots.PALETTE[k % len(plots.PALETTE)]})
figure.update_xaxes(title="Step")
figure.update_yaxes(title="Nats a token", rangemode="tozero")
plots.show(figure, alt=f"Loss falls from {n('loss_base')} (base) to {n('loss_tuned')} (tuned), mean over {len(runs)} seeds on test questions.")

# %%
#| echo: false
why = device.precision()
display(Markdown(
    f"{n('steps_done')} steps of {batch_size * accumulation} questions, {n('step_ms')} ms each, computed in {why[0]} ({why[1]}), the base stored in {precision} ({n('stored_mb')} MB with the adapter). {n('trained', 8)} weights were trained, {n('trained_percent', 2)} % of all. "
    f"A hash of all frozen weights was taken before and after: the same for every seed ({n('frozen_weights_identical')})."
))

# %%
#| label: tbl-gain
#| tbl-cap: "Base and tuned model on test questions of patients that training never saw: mean with 95 % interval over patients, means over seeds; the tuned model's standard deviation between seeds; and the paired difference. Exact intervals need more patients than this."
gains = []
for title, name, one, many, digits in (("loss, nats a token", "loss", before.losses, losses, 3), ("closed questions right", "closed", before.closed, closed, 2)):
    lead = gain[name]
    gains.append({"": title, "base": with_interval(one, digits=digits), "tuned": with_interval(many, digits=digits), "seeds": f"± {spread['losses' if name == 'loss' else 'closed']:.{digits}f}" if len(seeds) > 1 else "", "difference": f"{lead.value:+.{digits}f} [{lead.low:+.{digits}f}, {lead.high:+.{digits}f}]"})
plots.table(pd.DataFrame(gains))

# %% [markdown]
# A falling loss may be a model that has learned the style of the answers and does not look. So the questions are asked again with a grey image, with another
# patient's image and without one, and are answered by the most frequent training answer to the same question.

# %%
#| label: tbl-controls
#| tbl-cap: "Questions answered right by the first seed's model (closed: yes or no; open: word for word), and under controls: 95 % intervals over patients, and the model's lead, paired."
shown = {}
for form, table in beside.items():
    for row in table.to_dict("records"):
        shown.setdefault(row["condition"], {"condition": row["condition"]})[f"{form} right"] = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        shown[row["condition"]][f"lead, {form}"] = "" if pd.isna(row["lead"]) else f"{row['lead']:+.2f} [{row['lead_low']:+.2f}, {row['lead_high']:+.2f}]"
shown = list(shown.values())
shown.insert(1, {"condition": f"model, majority of {samples} samples", "closed right": with_interval(majority, np.array(patients)[of_form["closed"]])})
plots.table(pd.DataFrame(shown).fillna(""))

# %%
#| label: tbl-types
#| tbl-cap: "What the questions ask about: exact match and token F1, base and tuned model, beside the most frequent training answer to the same question."
common = inference.predictions(test, under["majority answer"], prompt)
shown = []
for kind in sorted(set(test["type"])):
    places = [k for k, name in enumerate(test["type"]) if name == kind]
    row = {"about": kind, "questions": len(places)}
    for name, lines in (("base", written["base"]), ("tuned", written["tuned"]), ("most frequent", common)):
        row |= {f"{name}, exact": f"{np.mean([lines[k]['exact_match'] for k in places]):.2f}", f"{name}, F1": f"{np.mean([lines[k]['token_f1'] for k in places]):.2f}"}
    shown.append(row)
plots.table(pd.DataFrame(shown))

# %% [markdown]
# ## What it says
#
# Open questions, sorted by the tuned model's token F1: the best, the middle and the worst, ties broken at random. Nobody picked them. [Chapter 06](06_evaluation.ipynb) shows single answers beside what the model says without the image.

# %%
#| echo: false
opened = of_form["open"]
picked = cases([written["tuned"][k]["token_f1"] for k in opened], 2, seed)
blocks = []
for title, places in picked.items():
    blocks += [f"<h4>{title.capitalize()}</h4>"] + [explore.case(test[opened[k]], {name: answers[name][opened[k]] for name in answers}, f"token F1 {written['tuned'][opened[k]]['token_f1']:.2f}") for k in places]
display(HTML(f'<div class="question-cases">{"".join(blocks)}</div>'))
display(Markdown(f"Texts that are broken as texts (empty, repeating, cut off): {n('degenerate_base_percent', 2)} % of the base's answers, {n('degenerate_tuned_percent', 2)} % of the tuned model's. All answers are in `predictions.jsonl`, one line a question."))

# %%
#| echo: false
if other_models:
    asked_too = []
    for name in other_models:
        ask = hub.opened(name, rows["train"], longest=longest)
        said = ask(test)
        lines = inference.predictions(test, said, "{question}")
        scoring.write(lines, file_of(FOLDER / name.replace("/", "--")))
        told = arms_of.right(test, said)
        asked_too.append({"model": name, "licence": hub.licence(name)} | {f"{form} right": with_interval(told[chosen], np.array(patients)[chosen]) for form, chosen in of_form.items()} | {"token F1": with_interval([line["token_f1"] for line in lines])})
    display(Markdown("The same test questions, asked of other models of the hub:"), plots.table(pd.DataFrame(asked_too)))
else:
    display(Markdown("Any vision–language model or CLIP of the hub can be asked the same questions (`other_models`); this run asked none."))

# %% [markdown]
# In JupyterLab, ask the base and the tuned model yourself.

# %% tags=["widget"]
explore.question_widget({"base": untuned, "tuned": first.model}, collator, test)

# %% [markdown]
# ## Studies
#
# Each study changes one thing and tunes every arm from the same base with the same seeds and, unless it says otherwise, the same number of steps. Differences are
# to the first arm, paired over test questions, with 95 % intervals over patients; *seeds* is the standard deviation between seeds. A
# difference whose interval holds 0, or that is not several times that of the seeds, is too small to tell here.

# %%
#| echo: false
TOLD = {
    "targets": "**Which layers get LoRA.** The attention layers, or all projections.",
    "methods": "**LoRA or something else.** All arms on the base in fp32, as weights in 4 bits can't be trained. The arm *everything* takes a fifth of the learning rate. Gemma has no biases, so BitFit [@zaken2022] trains the vision tower's biases and the weights of norms.",
    "rank": "**Rank.** Alpha is twice the rank, so that the update counts the same.",
    "accumulation": "**Accumulation.** All arms see the same questions; the last takes more and smaller steps for them.",
    "clipping": "**Clipping.** The same start and the same questions in the same order.",
    "precision": "**Bits and context.** How the base is stored, and trained with all of the context or half of it, which cuts long answers in training. Questions for captions are among these: only they are long. All arms are tested with all of the context. A step is planned for a batch that fills its context.",
    "epochs": "**Epochs.** Rounds through a few hundred questions; the learning rate ends at 0 in each arm. The last arm keeps the adapter that lost least on validation questions.",
    "flags": "**Flagged questions.** Trained with and without the questions that the quality flags remove, tested without them.",
    "leak": "**A leak.** Half of the test questions, drawn at random, take the place of training questions: other questions on the same images. Both arms are tested on the other half. The difference is how much a split by question flatters.",
}
told_by = results.with_records(record)

for name, text in TOLD.items():
    runs_of = {title: one for title, one in told_by.items() if f"study_{name}" in one["curves"]}
    display(Markdown(text if runs_of else f"{text} Not measured yet."))
    for title, one in runs_of.items():
        used = one["parameters"]
        about = f" {used['study_steps']} steps, {len(used['study_seeds'])} seeds."
        if name == "epochs":
            about = f" {used['study_questions']} questions, {len(used['study_seeds'])} seeds."
        if name == "flags":
            about += f" {results.number(one['metrics']['flagged_questions'])} of {results.number(one['metrics']['unfiltered_questions'])} training questions are flagged."
        display(Markdown(f"*{title[0].upper()}{title[1:]}.*{about}"), plots.table(arms_of.readable(pd.DataFrame(one["curves"][f"study_{name}"]))))

# %%
#| code-summary: "Loss over epochs"
for title, one in told_by.items():
    if "epochs" not in one["curves"]:
        continue
    curve = pd.DataFrame(one["curves"]["epochs"])
    curve = curve[curve["arm"] == f"{arms_of.EPOCHS[-1]} epochs"].groupby(["split", "epoch"], as_index=False)["loss"].mean()
    figure = go.Figure()
    for split, mode in (("train", "lines"), ("validation", "lines+markers")):
        part = curve[curve["split"] == split]
        figure.add_scatter(x=part["epoch"], y=part["loss"], mode=mode, name=split)
    held = curve[curve["split"] == "validation"]
    turn, rise = arms_of.turning_point(list(zip(held["epoch"], held["loss"], strict=True)))
    if title.startswith("this run"):
        record.metrics |= {"overfits_from_epoch": float(turn), "validation_loss_rise": float(rise)}
    figure.add_vline(x=turn, line_dash="dot", annotation_text="lowest on validation")
    figure.update_xaxes(title="Epoch")
    figure.update_yaxes(title="Nats a token", rangemode="tozero")
    display(Markdown(f"Loss on training and validation questions over epochs in the longest arm, {title}, mean over seeds. Where validation turns, learning by heart begins."))
    plots.show(figure, alt=f"Validation loss is lowest at epoch {turn:.0f} and {rise:.2f} higher at the end.")

# %% [markdown]
# ### The notes' two curves
#
# The notes say that clipping the gradient at 1 "killed all the gradients". Their two runs are below. They differ in more than clipping: the clipped one
# starts at a higher loss, and its questions came in another order, so the curves alone can't tell. The study *clipping* is the fair pair.

# %%
#| label: fig-clipping
#| fig-cap: "Training loss of the notes' runs of PaliGemma-3B, means of 20 steps."
#| fig-alt: "Two training curves; the one clipped at 1 stays higher."
notes = pd.read_csv(paths.REPORT / "published_curves.csv")
figure = go.Figure()
for name, part in notes.groupby("run"):
    figure.add_scatter(x=part["step"], y=part["loss"], mode="lines", name=name)
figure.update_xaxes(title="Step")
figure.update_yaxes(title="Training loss")
ends = {name: (part["loss"].iloc[0], part["loss"].iloc[-1]) for name, part in notes.groupby("run")}
plots.show(figure, alt="; ".join(f"{name}: from {one:.1f} to {other:.1f}" for name, (one, other) in ends.items()) + ".")

# %% [markdown]
# ## Limits
#
# - An embedded base is a tiny PaliGemma that has seen one small data set. What it gains says how the method works, not what a hospital would gain.
# - Template questions repeat few phrasings, and their answers few words: token scores are high by style alone. The controls say how much is left.
# - Phantom studies are drawn; nothing here says anything about patients.
# - Intervals are over patients, not over trainings; seeds are few.
# - The memory plan leaves out temporary copies, but for those of the scores, and counts all text as answer there. Weights and activations were compared with what a real model on a CPU stores and keeps.
# - On GPUs without bf16 (V100, T4) products are computed in fp16, in which Gemma's layers can overflow: look at the loss.

# %% [markdown]
# ## Run card

# %%
#| echo: false
summary = record.save()
results.card(summary)

# %%
#| echo: false
results.beside_record(summary, {
    "base_parameters": "Weights of the base", "trained": "Weights trained", "loss_base": "Held-out loss, base", "loss_tuned": "Held-out loss, tuned", "loss_seeds_sd": "… standard deviation between seeds",
    "closed_base": "Closed questions right, base", "closed_tuned": "Closed questions right, tuned", "closed_seeds_sd": "… standard deviation between seeds", "closed_best_control": "Closed questions right, best control",
    "open_base": "Open questions right, base", "open_tuned": "Open questions right, tuned, first seed", "open_best_control": "Open questions right, best control", "frozen_weights_identical": "Frozen weights identical",
})

# %% [markdown]
# ## What's next
#
# [Chapter 03](03_fourm_pretraining.ipynb) asks whether one model that learns all kinds of data can take the place of such adapters.
# [Chapter 06](06_evaluation.ipynb) measures what these models can and can't do, beside others and their controls.
