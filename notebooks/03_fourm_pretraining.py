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
# # One model for all modalities
#
# **Question.** A hospital has scans, reports, records and drawings of organs and lesions. Can one model learn all of these at once, by
# guessing what was hidden of them (4M [@mizrahi2023]), so that it then makes any of them from any others? And what does it do better or
# worse than one model for each task?

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to
data: list[str] = ["phantom"]  # data sets; the first one's test split is what models are tested on
data_weights: list[float] = [1.0]  # how often each data set is drawn
data_root: str = ""  # folder of medpix; empty: MEDMM_DATA
modalities: list[str] = ["patches", "image", "label map", "caption", "findings", "boxes", "metadata"]  # of the registry
side: int = 64  # of an image, pixels
patch: int = 8  # pixels along the side of a token
views: int = 6  # of each training study: moved, scaled, brighter, darker
vocabulary_size: int = 1024  # text tokens
longest_text: int = 72  # tokens; longer ones are cut
image_codes: int = 512  # VQ codes of an image
image_steps: int = 300  # training steps of their tokeniser
map_codes: int = 256  # VQ codes of a label map
map_steps: int = 300  # training steps of their tokeniser
size: str = "tiny"  # tiny, small, medium or base
kv_heads: int = 4  # as many as heads: multi-head; fewer: grouped-query; 1: multi-query
embeddings: str = "per modality"  # or unified: one table and one softmax for all
mixture: list[str] = ["0.65: patches -> label map, boxes, caption, metadata", "0.15: caption, metadata -> image, label map", "0.2: any -> any"]  # share: given -> asked for
inputs: list[int] = [54, 80]  # tokens given, fewest and most
targets: list[int] = [112, 128]  # tokens asked for, fewest and most
steps: int = 560  # of pretraining
batch_size: int = 16  # studies a step
learning_rate: float = 3.0e-3  # of embeddings; matrices take three times as much
evaluations: int = 3  # how often held-out losses are measured
save_steps: int = 0  # steps between checkpoints; 0: none
max_minutes: float = 0.0  # of pretraining; it stops with a checkpoint and goes on in the next run. 0: no limit
chain: list[str] = ["patches -> label map", "patches, label map -> boxes", "patches, label map, boxes -> caption", "patches -> findings"]  # what is generated from a scan, from what
decoding_steps: int = 1  # parallel steps in which a grid of tokens is decoded
studies: list[str] = ["heads"]  # heads, embeddings, masking, budgets, transfer, specialists, vocabularies
study_steps: int = 50  # of each arm of a study
study_arms: int = 2  # arms of each study, the first ones; 0: all
study_seeds: list[int] = [0]  # each arm is trained once with each
transfer_by: list[str] = ["plane"]  # what kinds of scan are told apart by in the study transfer: plane, modality or sequence
biobert: str = ""  # BioBERT's vocab.txt, for the study vocabularies
seed: int = 0  # of tokenisers, first weights, masks and views

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# None for the embedded phantom studies. For MedPix 2.0, the folder in `MEDMM_DATA`; its label maps are computed from the images (*pseudo*),
# as it has none. [Chapter 04](04_masking_kernels.ipynb) explains the masking that is used here.

# %%
#| code-summary: "Imports"
import html
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from datasets import Dataset
from IPython.display import HTML, Markdown, display
from PIL import Image
from plotly.subplots import make_subplots

import medmm_lib.data
from medmm_lib import device, parallel, paths, plots, results
from medmm_lib.data.schema import MASK_CLASSES
from medmm_lib.evaluation import predictions
from medmm_lib.evaluation.controls import control_table, majority_answers
from medmm_lib.evaluation.facts import FACTS, commonest_right
from medmm_lib.evaluation.gathered import file_of
from medmm_lib.evaluation.intervals import interval, mean
from medmm_lib.fourm import abilities, explore, preparation, pseudo, reconstruction, vocabularies
from medmm_lib.fourm import studies as arms_of
from medmm_lib.fourm.experiment import Setup, arm, comparison, step_flops, train
from medmm_lib.fourm.modalities import REGISTRY
from medmm_lib.fourm.specialists import specialists
from medmm_lib.fourm.transfer import transfer

CHAPTER = "03_fourm_pretraining"
CAPTION = "What does this image show?"
FOLDER = paths.artifacts(profile, CHAPTER)
KNOWN_STUDIES = [*arms_of.STUDIES, "transfer", "specialists", "vocabularies"]
if wrong := [name for name in studies if name not in KNOWN_STUDIES]:
    raise ValueError(f"studies has {', '.join(wrong)}; expected some of {', '.join(KNOWN_STUDIES)}")
made_of = [abilities.read_line(line) for line in chain]
if wrong := {name for sources, target in made_of for name in (*sources, target)} - set(modalities):
    raise ValueError(f"chain has {', '.join(sorted(wrong))}; expected names in modalities")
generates = [target for _, target in made_of]
if len(data) != len(data_weights):
    raise ValueError(f"data has {len(data)} names, data_weights {len(data_weights)}; expected as many of both")

# %%
#| code-summary: "Read the studies and train the tokenisers"
parts = {name: medmm_lib.data.load(name, data_root or None) for name in data}
fingerprints = {name: medmm_lib.data.fingerprint(name, data_root or None) for name in data}
record = results.RunRecord(CHAPTER, parameters, data={"name": " + ".join(data), "fingerprint": " + ".join(fingerprints.values())})
own, test = parts[data[0]]["train"], parts[data[0]]["test"]
patients = test["patient_id"]
entries = {name: REGISTRY[name] for name in modalities if name in REGISTRY}
grids = {name: entry.classes for name, entry in entries.items() if entry.kind == "dense"}
visual = {name: preparation.Codes(map_codes if classes else image_codes, map_steps if classes else image_steps) for name, classes in grids.items()}
tokenisers = preparation.train_tokenisers(
    own, modalities, FOLDER / "tokenisers", side=side, patch=patch, vocabulary_size=vocabulary_size, longest_text=longest_text, visual=visual, seed=seed,
)
corpus = preparation.as_studies(
    tokenisers, parts, data_weights, FOLDER / "tokens", fingerprints=fingerprints, count=views, seed=seed,
)

# %%
#| code-summary: "Pretrain the model"
dtype, why = device.precision()
setup = Setup(
    size=size, mixture=tuple(mixture), inputs=tuple(inputs), targets=tuple(targets), steps=steps, batch_size=batch_size,
    learning_rate=learning_rate, seed=seed, shape={"kv_heads": kv_heads, "embeddings": embeddings},
)
saving = {"save_strategy": "steps", "save_steps": save_steps} if save_steps else {}
whole = train(setup, corpus, FOLDER / "pretraining", evaluations=evaluations, max_minutes=max_minutes, **saving)
model, log = whole.model, whole.log
if parallel.MAIN:
    model.save_pretrained(FOLDER / "model")
    tokenisers.text.save(FOLDER / "model")
peak = device.matmul_flops(dtype)
achieved = step_flops(setup, corpus) / whole.step_seconds
record.metrics |= {
    "train_studies": sum(len(part["train"]) for part in parts.values()), "test_studies": len(test), "test_patients": len(set(patients)), "parameters": whole.parameters,
    "steps_done": whole.trainer.state.global_step, "step_ms": 1000 * whole.step_seconds, "mfu_percent": 100 * achieved / peak,
    "matmul_gflops": peak / 1e9, "tokens_per_s": whole.tokens_per_second,
}
curves = [{"step": row["step"], "modality": name.partition("_")[2], "split": name.partition("_")[0], "loss": loss}
          for row in log for name, loss in row.items() if name.startswith(("eval_", "train_")) and isinstance(loss, float) and name.partition("_")[2] in (*modalities, "all")]
record.curves["losses"] = curves
start = next(row for row in log if "eval_all" in row)
for name, loss in whole.final.items():
    record.metrics |= {f"loss_{name.replace(' ', '_')}_start": start[f"eval_{name}"], f"loss_{name.replace(' ', '_')}_end": loss}

# %%
#| code-summary: "What it makes of held-out scans, and of controls"
given = corpus.held_out.given("patches")
classes = {name: entry.classes for name, entry in entries.items()}
truth = abilities.known(test, entries, side)
answers = {"model": abilities.generated(model, tokenisers, given, chain, decoding_steps)}
for name, changed in abilities.controls(given, patients, seed).items():
    answers[name] = abilities.generated(model, tokenisers, changed, chain, decoding_steps)
found = {name: abilities.scores(made, truth, entries) for name, made in answers.items()}
kinds = [list(zip(part["modality"], part["plane"], part["location_category"], strict=True)) for part in (own, test)]
prior = {}
for name in (name for name in answers["model"].grids if classes[name]):
    there = [k for k, mask in enumerate(own["mask"]) if entries[name].pseudo or mask is not None]
    maps = abilities.majority_maps([kinds[0][k] for k in there], preparation.pictures(own, name, side).numpy(), kinds[1], classes[name])
    prior |= abilities.scores(abilities.Answers({}, [None] * len(test), {name: maps}), truth, entries)
if "caption" in generates:
    captions = [text or "" for text in own["caption"]]
    prior |= {f"caption {fact}": commonest_right(captions, [text or "" for text in test["caption"]], read) for fact, read in FACTS.items()}
found["prior"] = prior
told = {name: made.texts["caption"] for name, made in answers.items() if "caption" in generates}
if told:
    given_ones = [text for text in captions if text]
    told["majority answer"] = majority_answers([CAPTION] * len(test), Dataset.from_dict({"question": [CAPTION] * len(given_ones), "answer": given_ones}))
for name, texts in told.items():
    lines = [
        {"image_id": image, "patient_id": patient, "type": "caption", "question": CAPTION, "reference": known, "prediction": text}
        for image, patient, known, text in zip(test["image_id"], patients, test["caption"], texts, strict=True) if known
    ]
    predictions.write(lines, file_of(FOLDER / "captions", name))

SHOWN = [name for name in found["model"] if name.endswith(("Dice", "plane", "side", "finding", "0.3", "0.5", "IoU", "rouge_l", "token_f1"))]
for name in SHOWN:
    for condition, scores in found.items():
        if name in scores and not np.isnan(scores[name]).all():
            record.metrics[f"{name} {condition}".replace(" ", "_").replace("'", "")] = interval(mean(scores[name]), patients).value


# %%
#| code-summary: "Helpers for prose and tables"
def n(name, digits=3):
    """A number of this run for prose."""
    value = record.metrics.get(name)
    return results.number(value if value is None or isinstance(value, str) else float(f"{value:.{digits}g}"))


def with_interval(values, groups=patients, digits=2):
    """Mean and 95 % interval over patients, for a table."""
    values = np.asarray(values, dtype=float)
    if np.isnan(values).all():
        return ""
    estimate = interval(mean(values), groups)
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def probed(learned, labels, seen, wanted):
    """Whether a probe is right about each study, NaN where nothing is known [N]; and what the most frequent label would score."""
    kept = [k for k, label in enumerate(labels) if label is not None]
    known = [labels[k] for k in kept]
    there = np.array([label is not None for label in wanted])
    right = np.where(there, abilities.probe(learned[kept], known, seen) == wanted, np.nan)
    return right, f"{np.mean(wanted[there] == pd.Series(known).mode()[0]):.2f}"


CALLED = {"modality": "kind of scan"}  # CT, MR or X-ray; elsewhere on this page, a modality is a kind of data
falls = [name for name in whole.final if name != "all"]
fallen = [name for name in falls if whole.final[name] < start[f"eval_{name}"]]
record.metrics |= {"modalities_learned": len(fallen), "modalities_asked": len(falls)}

# %%
#| code-summary: "Each ability beside its controls"
TITLES = {"plane": "caption names the plane", "side": "caption names the side", "finding": "caption names the finding"}
TITLES |= {f"{kind}{iou}": f"boxes, {title}, IoU ≥ {iou}" for iou in abilities.IOUS for kind, title in (("", "hit"), ("F1 ", "F1"))}
leads, ability_rows = {}, []
for name in SHOWN:
    first, _, last = name.partition(" ") if name.startswith("boxes") else name.rpartition(" ")
    others = {condition: scores[name] for condition, scores in found.items() if condition != "model" and name in scores}
    if np.isnan(found["model"][name]).all():
        continue
    table = control_table(found["model"][name], others, patients)
    best = table[table["condition"] != "model"].sort_values("value").iloc[-1]
    leads[name] = f"{best['lead']:+.2f} [{best['lead_low']:+.2f}, {best['lead_high']:+.2f}] over {best['condition']}"
    means = {condition: f"{np.nanmean(others[condition]):.2f}" if condition in others else "" for condition in found if condition != "model"}
    lead = {"lead": leads[name].partition(" over ")[0]}
    title = {"Dice": f"{first}, mean Dice", "rouge_l": f"{first}, ROUGE-L", "token_f1": f"{first}, token F1", "IoU": "boxes, best IoU"}.get(last) or TITLES[last]
    ability_rows.append({"ability": title, "studies": int((~np.isnan(found["model"][name])).sum()), "model": with_interval(found["model"][name])} | means | lead)
    record.metrics |= {f"{name} lead".replace(" ", "_"): best["lead"], f"{name} lead_low".replace(" ", "_"): best["lead_low"]}

# %%
#| code-summary: "The study of this profile, and the rest of them"
study_setup = replace(setup, steps=study_steps)
tables, kept_models = {}, {}


@cache
def baseline():
    """What all arms are compared to: the settings of the model itself, with fewer steps."""
    return arm(study_setup, corpus, FOLDER / "studies" / "baseline", study_seeds)


COMPARED = [name for name in corpus.spaces if name != "patches"]
for study in studies:
    if study not in arms_of.STUDIES:
        continue
    arms = list(arms_of.arms(study, study_setup).items())[: study_arms or None]
    trained = {name: baseline() if one == study_setup else arm(one, corpus, FOLDER / "studies" / study, study_seeds) for name, one in arms}
    table = comparison(trained, corpus, COMPARED)
    if study == "embeddings":
        kept_models = trained
    if study == "heads":
        text = next(name for name in generates if entries[name].kind == "sequence")
        cost = {name: arms_of.generation_cost(runs[0].model, given, text) for name, runs in trained.items()}
        table["cache_bytes"], table["tokens_per_s"] = ([cost[name][k] for name in table["arm"]] for k in (0, 1))
    tables[study] = table
    for row in table[table["modality"] == "all"].itertuples():
        key = f"{study}_{row.arm}".replace(" ", "_").replace("×", "x")
        record.metrics |= {f"{key}_loss": row.loss, f"{key}_difference": row.difference, f"{key}_step_ms": row.step_ms}

# %%
#| code-summary: "Studies that need other data or other models"
study_folder = FOLDER / "studies"
if "transfer" in studies:
    for column in transfer_by:
        table = transfer(study_setup, corpus, own[column], test[column], views, study_folder / "transfer", study_seeds)
        tables[f"transfer by {column}"] = table
        record.metrics |= {f"transfer_{row['tested on']}_difference": row["difference"] for row in table.to_dict("records")}
if "specialists" in studies:
    wanted = [name for name in ("label map", "tissue", "boxes", "caption") if name in corpus.spaces]
    table = specialists(baseline()[0], replace(study_setup, seed=study_seeds[0]), corpus, study_folder / "specialists", wanted, (32, 64, 96, 128, 192))
    best = table.groupby("target", sort=False).last()
    record.metrics |= {"specialists_parameters": int(best["parameters"].sum()), "specialists_bytes": int(best["bytes"].sum()), "specialists_reached": int(best["reached"].sum()), "specialists_targets": len(best)}
    tables["specialists"] = table
own_words = {"this run's texts": tokenisers.text, "literature of the same cases": vocabularies.TextTokeniser.train(vocabularies.literature(own.remove_columns(["image", "mask"])), vocabulary_size)}
if biobert:
    own_words["BioBERT's"] = vocabularies.TextTokeniser.of_vocabulary(Path(biobert))
if "vocabularies" in studies:
    tables["vocabularies"] = vocabularies.comparison(own_words, study_setup, own, test, study_folder / "vocabularies", study_seeds, side, patch)
for name, table in tables.items():
    record.curves[f"study_{name}"] = table.astype(object).where(table.notna(), None).to_dict("records")

# %%
#| echo: false
told = [f"{title} {record.metrics[f'{key}_model']:.2f}, a lead of {leads[name]}" for title, name in (("the plane in the caption", "caption plane"), ("the side", "caption side"), ("the finding", "caption finding"), ("boxes (hit at IoU ≥ 0.3)", "boxes 0.3"), ("organs and lesions, mean Dice", "label map Dice"), ("tissue, mean Dice", "tissue Dice")) if name in leads for key in [name.replace(" ", "_")]]
plots.box(f"""
- One model of {whole.parameters:,} weights was trained on {len(corpus.spaces)} modalities of {record.metrics['train_studies']:,} studies and generates {len(falls)} of them.
- From scans of {len(set(patients))} patients that it never saw ({len(test)} studies), with the lead over the best control: {'; '.join(told)}. A lead whose
  interval holds 0 is none.
- Whether one model is better than one for each task: {"see the study below" if "specialists" in studies else "not measured in this run"}.
""", "callout-tip", title="Takeaway")

# %% [markdown]
# ## Everything is tokens
#
# 4M turns each kind of data (*modality*) into a row of tokens from a fixed vocabulary. Then one encoder–decoder, trained with one loss,
# can read and write all of them. Texts become pieces of words (WordPiece). Boxes are texts as well: four coordinate tokens, then the
# name. Images and label maps become grids of codes by *vector quantisation* (VQ [@oord2017]): a small network describes each patch by the nearest entry of a learned codebook, and
# a second one draws the picture from these entries. The scan is also given as plain pixels (*patches*), for input only: nothing is lost
# then.
#
# Below, one held-out study in all its modalities. A modality marked *pseudo* is computed from the image by a classical method. Adding a modality is one entry in a registry.

# %%
#| label: tbl-modalities
#| tbl-cap: "The modalities of this run, and how many tokens one held-out study has of each."
AT = 0
KINDS = {"patches": "pixels, given only", "dense": "grid of VQ codes", "sequence": "text"}
rows = [
    (name + (" (pseudo)" if entry.pseudo else ""), KINDS[entry.kind], "" if entry.kind == "patches" else f"{corpus.spaces[name].vocabulary_size:,}", int(corpus.held_out.lengths[name][AT]))
    for name, entry in entries.items()
]
plots.table(pd.DataFrame(rows, columns=["modality", "kind", "vocabulary", "tokens"]))

# %%
#| label: tbl-study
#| tbl-cap: "The texts of that study, as the model reads them."
texts = [(name, tokenisers.decode(name, corpus.held_out.ids[name][AT : AT + 1])[0]) for name, entry in entries.items() if entry.kind == "sequence"]
plots.table(pd.DataFrame(texts, columns=["modality", "text"]))

# %%
#| echo: false
drawn = [explore.picture(Image.fromarray(REGISTRY["image"].read(test[AT], side)), None, "scan")]
for name, count in classes.items():
    if entries[name].kind == "dense":
        known_picture, kept = entries[name].read(test[AT], side), tokenisers.decode(name, corpus.held_out.ids[name][AT : AT + 1])[0]
        for title, shown in (("", known_picture), (", from its tokens", kept)):
            if title or count:
                drawn.append(explore.picture(explore.coloured(shown, count) if count else Image.fromarray(shown), None, name + title))
display(HTML(explore.side_by_side(drawn)))

# %% [markdown]
# ## What tokens keep
#
# A model can't be better than its tokens. The VQ tokenisers were trained on the training split and then frozen. On held-out patients, an
# image drawn from its codes is compared with two ways that need no learning: the mean of each patch, and the nearest training image.

# %%
#| label: tbl-vq
#| tbl-cap: "Images and label maps of held-out patients, drawn from their tokens: peak signal-to-noise ratio (PSNR), structural similarity (SSIM), and intersection over union (IoU) of classes, pooled over all pixels: the mean of all classes with the background, and the last class (lesions, bright tissue or edges). Used: codes that training pictures use at all; the others are dead."
rows = []
for name in grids:
    train_pictures, test_pictures = (preparation.pictures(part, name, side) for part in (own, test))
    codes = tokenisers.visual[name].encode(test_pictures)
    used = len(tokenisers.visual[name].encode(train_pictures).unique())
    made = tokenisers.visual[name].decode(codes)
    ways = {"VQ codes": made}
    if not grids[name]:
        ways |= {"mean of each patch": reconstruction.pooled(test_pictures, patch), "nearest training image": reconstruction.nearest(test_pictures, train_pictures)}
    for way, shown in ways.items():
        row = {"modality": name, "way": way, "codes used": f"{used} of {visual[name].codes}" if way == "VQ codes" else ""}
        if grids[name]:
            overlap = reconstruction.iou(test_pictures.numpy(), shown.numpy(), grids[name])
            row |= {"IoU, all": f"{np.nanmean(overlap):.2f}", "IoU, last class": f"{overlap[-1]:.2f}"}
            record.metrics |= {f"vq_{name.replace(' ', '_')}_iou": float(np.nanmean(overlap)), f"vq_{name.replace(' ', '_')}_last_iou": float(overlap[-1])}
        else:
            db, alike = reconstruction.psnr(test_pictures.numpy(), shown.numpy()), reconstruction.ssim(test_pictures.numpy(), shown.numpy())
            row |= {"PSNR, dB": with_interval(db, digits=1), "SSIM": f"{alike.mean():.2f}"}
            record.metrics |= {f"{way.replace(' ', '_')}_psnr_db": float(db.mean()), f"{way.replace(' ', '_')}_ssim": float(alike.mean())}
        record.metrics[f"vq_{name.replace(' ', '_')}_dead_codes"] = visual[name].codes - used
        rows.append(row)
plots.table(pd.DataFrame(rows).fillna(""))

# %%
#| label: tbl-words
#| tbl-cap: "Pieces that a word of a held-out caption falls into, by what the vocabulary was learned from."
texts = [text for text in test["caption"] if text]
rows = [(name, f"{one.size:,}", f"{vocabularies.pieces_per_word(one, texts):.2f}", f"{vocabularies.unknown(one, texts):.1%}") for name, one in own_words.items()]
record.metrics |= {"pieces_per_word": vocabularies.pieces_per_word(tokenisers.text, texts), "pieces_per_word_literature": vocabularies.pieces_per_word(own_words["literature of the same cases"], texts)}
plots.table(pd.DataFrame(rows, columns=["learned from", "tokens", "pieces a word", "unknown"]))

# %% [markdown]
# ## One model, one loss
#
# The encoder reads the tokens that are given. The decoder is asked for others: each query knows the modality and place that it is asked
# for (or, in a text, the word before). Queries of one grid see each other, words see the words before them, and all see everything that was encoded; queries of
# other modalities are out of sight. All tokens count the same in one cross-entropy. (4M's weighting by token counts tokens × vocabulary, which gives texts with a large vocabulary most of the weight.)
# [Chapter 04](04_masking_kernels.ipynb) has the pseudocode, and draws masks to look at.
#
# What is given and asked for is drawn for each study from a mixture. In this run:

# %%
#| echo: false
display(Markdown("\n".join(f"- `{line}`" for line in mixture)))
display(Markdown(
    f"{inputs[0]} to {inputs[1]} tokens are given and {targets[0]} to {targets[1]} asked for, {batch_size} studies a step, {n('steps_done')} steps. "
    f"Each training study is seen in {views} views: moved, scaled, brighter or darker, never mirrored, as texts say left and right. "
    f"A step takes {n('step_ms')} ms in {dtype} ({why}); {n('tokens_per_s')} tokens per second, given and asked for. The matrix products of a step, forward and backward, run at "
    f"{n('mfu_percent', 2)} % of the {n('matmul_gflops')} GFLOP/s that this machine reaches in one large product."
))

# %%
#| label: fig-losses
#| fig-cap: "Cross-entropy of each modality, nats a token. Lines: training, as masked. Dots: held-out studies, always under the same masks, half of them with the scan alone given, so that the two differ in more than the studies."
#| fig-alt: "One panel a modality with the training loss as a line and the held-out loss as dots, over steps."
shown = pd.DataFrame(curves)
names = [name for name in corpus.spaces if name in set(shown["modality"])]
figure = make_subplots(-(-len(names) // 2), 2, shared_xaxes=True, subplot_titles=names, vertical_spacing=0.08)
for k, name in enumerate(names):
    for split, mode, title, colour in (("train", "lines", "training", plots.PALETTE[5]), ("eval", "markers", "held out", plots.PALETTE[1])):
        part = shown[(shown["modality"] == name) & (shown["split"] == split)]
        figure.add_scatter(x=part["step"], y=part["loss"], mode=mode, name=title, legendgroup=split, showlegend=k == 0, line={"color": colour}, marker={"color": colour, "size": 8}, row=1 + k // 2, col=1 + k % 2)
figure.update_yaxes(rangemode="tozero")
figure.update_layout(height=120 + 170 * -(-len(names) // 2), legend={"y": 1.06})
plots.show(figure, alt="Held-out loss at the start and the end: " + "; ".join(f"{name} {n(f'loss_{key}_start')} and {n(f'loss_{key}_end')}" for name in names for key in [name.replace(" ", "_")]) + ".")

# %% [markdown]
# ## From a scan to everything else
#
# The model gets a scan it never saw, of a patient it never saw, and nothing else. It generates the modalities in a chain: each may be
# given the ones before, mistakes included. Shown is the first study with a lesion of each kind of scan, whatever came out. Grids are decoded in one or a few parallel steps, texts word by word: a text ends where ending is likelier than
# going on, and else takes the likeliest word.

# %%
#| echo: false
first_of = {}
for k in sorted(range(len(test)), key=lambda k: not test["boxes"][k]):  # studies that show a lesion first
    first_of.setdefault((test["modality"][k], test["plane"][k]), k)
looked_at = list(first_of.values())[:4]
blocks = [
    f"<details{' open' if k == looked_at[0] else ''}><summary>{html.escape(str(test['modality'][k]))}, {html.escape(str(test['plane'][k]))}</summary>{explore.beside(test[k], truth, answers['model'], k, side, classes)}</details>"
    for k in looked_at
]
display(HTML(f'<div class="case-browser">{"".join(blocks)}</div>'))

# %% [markdown]
# A good-looking example proves nothing. So each ability is scored on all held-out studies, beside controls: the same model with a grey
# image, the same model with another patient's scan, and a prior that needs no model.

# %%
#| label: tbl-abilities
#| tbl-cap: "What the model makes of held-out scans: mean and 95 % interval over patients, beside the controls' means. Lead: over the best control, paired over the same studies; intervals are too narrow for few patients. A caption that names no plane or side, or several, is wrong; its findings must all agree. Hit: share of a study's known boxes that a generated one overlaps with by that much, whatever its name; F1 counts boxes too many as well; best IoU: mean over known boxes. Dice: of the classes that a study has. Prior: for captions what most training captions name; for label maps, at every pixel, what most training studies of the same kind of scan, plane and region have; none for ROUGE-L, token F1 and boxes."
plots.table(pd.DataFrame(ability_rows).fillna(""))

# %% [markdown]
# Why the side is hard: it stands in one word of a caption, and only a lesion tells it. The table says what captions name, from the
# scan, and when the known boxes are given as well: their coordinates tell the side to a model that has learned to read them.

# %%
#| label: tbl-side
#| tbl-cap: "Held-out studies by the side that their caption names and the side that the generated caption names."
if "caption" in generates:
    said = {"from the scan": answers["model"].texts["caption"]}
    if "boxes" in entries:
        said["known boxes given"] = abilities.generated(model, tokenisers, corpus.held_out.given("patches", "boxes"), ["patches, boxes -> caption"], decoding_steps).texts["caption"]
    known_side = [FACTS["side"](text or "") for text in truth.texts["caption"]]
    rows = []
    for side_known in ("left", "right"):
        for how, texts in said.items():
            sides = [FACTS["side"](text) or "none or both" for text, known in zip(texts, known_side, strict=True) if known == side_known]
            rows.append({"known": side_known, "caption": how} | {f"says {name}": sides.count(name) for name in ("left", "right", "none or both")})
    for how, texts in said.items():
        right = [float(FACTS["side"](text) == known) for text, known in zip(texts, known_side, strict=True) if known]
        record.metrics[f"side_{how.replace(' ', '_')}"] = float(np.mean(right))
    display(plots.table(pd.DataFrame(rows)))

# %%
#| label: fig-dice
#| fig-cap: "Dice of each class of the generated label map, beside the prior and the known map encoded to tokens and decoded again. Mean over held-out studies that have the class; whiskers: 95 % intervals over patients."
#| fig-alt: "Bars of Dice for each class: model, prior, and the known map through its tokens."
name = next((name for name in answers["model"].grids if classes[name]), None)
if name:
    labels = MASK_CLASSES if name == "label map" else pseudo.TISSUES if name == "tissue" else ["no edge", "edge"]
    kept = {name: tokenisers.decode(name, corpus.held_out.ids[name])}
    ceiling = abilities.scores(abilities.Answers({}, [None] * len(test), kept), truth, entries)
    record.metrics[f"{name}_Dice_tokens".replace(" ", "_")] = interval(mean(ceiling[f"{name} Dice"]), patients).value
    figure, said = go.Figure(), []
    for title, scores in (("model", found["model"]), ("prior", prior), ("known map through its tokens", ceiling)):
        estimates = [interval(mean(scores[f"{name} {number}"]), patients) for number in range(1, classes[name])]
        figure.add_bar(name=title, x=labels[1:], y=[e.value for e in estimates], error_y={"array": [e.high - e.value for e in estimates], "arrayminus": [e.value - e.low for e in estimates], "thickness": 1})
        said.append(title + ": " + ", ".join(f"{label} {e.value:.2f}" for label, e in zip(labels[1:], estimates, strict=True)))
        for label, e in zip(labels[1:], estimates, strict=True):
            record.metrics[f"{name}_{label}_Dice_{title}".replace(" ", "_")] = e.value
    figure.update_yaxes(title="Dice", range=[0, 1])
    plots.show(figure, alt="; ".join(said) + ".")

# %% [markdown]
# ## From a caption to a scan
#
# The other way round, the model gets a caption alone and generates an image. Whether it is of the plane and kind that the caption says is
# judged by a linear classifier that was trained on training images (as drawn from their codes) and looks at 16 × 16 pixels. More
# decoding steps help only a model that has learned to go on from a few codes; early in training, the first, surest codes mislead the rest.

# %%
#| label: tbl-from-caption
#| tbl-cap: "Share of images in which the classifier sees what the record says, with 95 % intervals over patients. Decoded in 1 or 8 parallel steps."
if both := {"caption", "image"} <= set(entries):
    there = np.flatnonzero(corpus.held_out.lengths["caption"].numpy() > 0)
    groups = np.array(patients)[there]
    written = corpus.held_out.rows(torch.from_numpy(there)).given("caption")
    exchanged = abilities.controls(written, groups.tolist(), seed)["another patient's scan"]

    def pooled(shown):
        """Images as the classifier sees them."""
        return reconstruction.pooled_values(torch.from_numpy(np.stack(shown)), abilities.POOLED)

    def drawn_from(texts, steps):
        """Images generated from captions alone."""
        return abilities.generated(model, tokenisers, texts, ["caption -> image"], steps).grids["image"]

    images = {
        "its caption, 1 step": drawn_from(written, 1), "its caption, 8 steps": drawn_from(written, 8), "another patient's caption": drawn_from(exchanged, 1),
        "the scan's own codes": tokenisers.decode("image", corpus.held_out.ids["image"][torch.from_numpy(there)]),
    }
    learned, rows = pooled(tokenisers.decode("image", corpus.training[0].ids["image"][::views])), []
    for what in ("plane", "modality", "sequence"):
        row = {"of": CALLED.get(what, what)}
        for title, shown in images.items():
            right, row["most frequent"] = probed(learned, own[what], pooled(shown), np.array(test[what], object)[there])
            row[title] = with_interval(right, groups)
            record.metrics[f"{what}_from_{title}".replace(" ", "_").replace("'", "").replace(",", "")] = np.nanmean(right)
        rows.append(row)
    display(plots.table(pd.DataFrame(rows)))

# %%
#| echo: false
if both:
    blocks = []
    for k, at in ((k, int(np.flatnonzero(there == k)[0])) for k in list(first_of.values())[:3] if k in there):
        shown = [explore.picture(Image.fromarray(picture), None, title) for title, picture in (("the scan", REGISTRY["image"].read(test[k], side)), ("from its caption", images["its caption, 1 step"][at]))]
        blocks.append(f"<p>{html.escape(test['caption'][k])}</p>{explore.side_by_side(shown)}")
    display(HTML("".join(blocks)))

# %% [markdown]
# ## The encoder as a backbone
#
# Without its decoder, the encoder is a plain vision transformer. The mean of what it makes of a scan's patches is given to a linear classifier, beside
# the same encoder before training and the pixels themselves. Pretraining asked for plane, kind and sequence, as words; for lesions, as boxes and
# places of the label map. Pixels tell plane and kind of scan by themselves: only where the trained encoder is ahead of them has it
# learned something that they do not show at once.

# %%
#| label: tbl-backbone
#| tbl-cap: "Held-out accuracy of a linear classifier on frozen features of the scan alone, with 95 % intervals over patients."
untrained = setup.model(corpus)
scans = [{"patches": corpus.training[0].rows(torch.arange(0, len(corpus.training[0]), views)).given("patches")["patches"]}, given]
looks = {"trained encoder": [abilities.features(model, part) for part in scans], "untrained encoder": [abilities.features(untrained, part) for part in scans]}
looks["pixels"] = [reconstruction.pooled_values(preparation.pictures(part, "image", side), abilities.POOLED) for part in (own, test)]
rows = []
tasks = {what: [list(part[what]) for part in (own, test)] for what in ("plane", "modality", "sequence")}
if own["boxes"][0] is not None:
    tasks["a lesion is there"] = [[str(bool(boxes)) for boxes in part["boxes"]] for part in (own, test)]
for what, (labels, wanted) in tasks.items():
    row = {"of": CALLED.get(what, what)}
    for title, (learned, seen) in looks.items():
        right, row["most frequent"] = probed(learned, labels, seen, np.array(wanted, object))
        row[title] = with_interval(right)
        record.metrics[f"backbone_{what}_{title}".replace(" ", "_")] = np.nanmean(right)
    rows.append(row)
plots.table(pd.DataFrame(rows))

# %% [markdown]
# ## Where the modalities lie
#
# Every point is a token of a held-out study after the encoder, all modalities given at once, in the two directions of largest spread
# (principal components). Clusters of one colour would be modalities that the encoder keeps apart. The picture shows, it proves nothing.

# %%
#| label: fig-space
#| fig-cap: "Tokens after the encoder, by modality. Click on a name to hide it, double-click to see it alone."
#| fig-alt: "A scatter of tokens in two dimensions, coloured by modality."
few = corpus.held_out.rows(torch.arange(min(24, len(test))))
shown = {"this model": model} | {f"study, {name}": runs[0].model for name, runs in kept_models.items()}
figure = make_subplots(len(shown), 1, subplot_titles=list(shown) if len(shown) > 1 else None, vertical_spacing=0.08)
for at, one in enumerate(shown.values(), start=1):
    points = arms_of.encoded_tokens(one, few)
    for k, (name, part) in enumerate(points.items()):
        figure.add_scattergl(x=part[:, 0], y=part[:, 1], mode="markers", name=name, legendgroup=name, showlegend=at == 1, marker={"size": 4, "opacity": 0.6, "color": plots.PALETTE[k % len(plots.PALETTE)]}, row=at, col=1)
figure.update_xaxes(title="First component", showticklabels=False)
figure.update_yaxes(title="Second component", showticklabels=False)
figure.update_layout(legend={"itemsizing": "constant"}, height=120 + 320 * len(shown))
plots.show(figure, alt=f"Tokens of {', '.join(points)} after the encoder, in two dimensions.")

# %% [markdown]
# ## Studies
#
# Each study changes one thing and trains every arm again with the same seeds and, unless it says otherwise, the same number of steps. Losses
# are of held-out studies under the same masks, in nats a token; the mean is over all modalities that are asked for, each counting the same. They are
# compared study by study, over patients. The interval says which patients were held out, not how another training would end: a difference whose interval holds
# 0, or that is not several times the standard deviation between seeds ("seeds"), is too small to tell here. With one seed nothing is settled.

# %%
#| echo: false
TOLD = {
    "heads": "**Attention heads.** Query heads may share key and value heads: all of their own (multi-head), pairs (grouped-query), or all the same (multi-query). Sharing shrinks what generation must remember.",
    "embeddings": "**Embeddings.** One table and one softmax for all vocabularies together (unified), or one for each modality. Both are scored among the modality's own tokens.",
    "masking": "**Masking strategies** of chapter 04, in place of uniform masking.",
    "budgets": "**Longer sequences.** Twice and four times as many tokens a study, in as many fewer steps, so that all arms see about as many tokens. The shorter the sequences, the more steps and the more studies are drawn.",
    "transfer": "**Trained on one plane, tested on others.** As many training studies of one plane as of all planes.",
    "specialists": "**One model or several.** For each target the smallest model of its own, scan → target, that is as good on validation studies as the one model of this study: same layers, same number of steps, all spent on the one target. Losses are of held-out studies.",
    "vocabularies": "**Text tokenisers.** Scan → caption, trained with each vocabulary. Nats a character can be compared between them, nats a token cannot; only captions without an unknown piece in any vocabulary count.",
}
for name, table in tables.items():
    display(Markdown(TOLD[name.partition(" by ")[0]]))
    display(plots.table(arms_of.readable(table) if name in arms_of.STUDIES else arms_of.told(table)))
    if name == "specialists":
        display(Markdown(
            f"The one model has {baseline()[0].parameters:,} weights, {4 * baseline()[0].parameters / 1e6:.1f} MB in fp32, and makes {len(falls)} modalities from any others. The smallest separate models that are as good, "
            f"or the largest tried where none is, have {n('specialists_parameters', 7)} weights together, {record.metrics['specialists_bytes'] / 1e6:.1f} MB, for {n('specialists_targets')} targets; {n('specialists_reached')} of these were reached."
        ))
display(Markdown(f"Arms were trained for {study_steps} steps with {len(study_seeds)} seed(s)" + (f", the first {study_arms} arms of each study only." if study_arms else ".")))
if missing := [title for name, title in TOLD.items() if name not in studies]:
    display(Markdown("Not in this run: " + ", ".join(title.split("**")[1].rstrip(".").lower() for title in missing) + "."))

# %% [markdown]
# In JupyterLab the widget takes a study, hides modalities, and generates what is hidden.

# %% tags=["widget"]
explore.widget(model, tokenisers, test, corpus.held_out)

# %% [markdown]
# ## Limits
#
# - Phantom studies are drawn; nothing here says anything about patients. The captions of training and test come from one grammar with few ways to say a
#   thing, which a model may learn by heart.
# - Images are small, and so is the test set: intervals over few patients are too narrow. All generation takes the likeliest token.
# - The model is small and sees each study many times: it learns planes and organs first, lesions last. How far it gets in the time of this
#   profile is what the tables say; sides and boxes can't be right before lesions are seen.
# - Pseudo label maps come from thresholds. A model that has learned them has learned those thresholds.
# - One seed unless the tables say otherwise. Intervals are over patients, not over trainings.

# %% [markdown]
# ## Run card

# %%
#| echo: false
summary = record.save()
results.card(summary)

# %%
#| echo: false
results.beside_record(summary, {
    "parameters": "Weights", "steps_done": "Steps", "loss_all_end": "Held-out loss, nats a token, mean over tokens", "caption_plane_model": "Plane named right", "caption_side_model": "Side named right",
    "caption_side_prior": "Side named right, prior", "boxes_0.3_model": "Boxes hit (IoU ≥ 0.3)", "label_map_Dice_model": "Mean Dice, label map", "label_map_Dice_prior": "Mean Dice, prior", "specialists_parameters": "Weights of separate models, sum",
})

# %% [markdown]
# ## What's next
#
# [Chapter 04](04_masking_kernels.ipynb) says what masking costs and how it is drawn. [Chapter 05](05_contrastive_pretraining.ipynb) compares this one encoder with
# specialised encoders and adapters, and [chapter 07](07_scaling_laws.ipynb) asks how large a model and how much data a wanted loss needs.
