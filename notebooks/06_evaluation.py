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
#     reads:
#     - 02_lora_finetuning
#     - 03_fourm_pretraining
#     - 05_contrastive_pretraining
#     runs: []
# ---

# %% [markdown]
# # What the models can and can't do
#
# **Question.** Three chapters trained models. What are their scores worth beside a control that never saw the image? Where do they fail, do the usual text metrics notice
# it, do they look at the lesion, and how do they compare with what others publish, in size, in measured figures and in what their licences allow?

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # whose artifacts are evaluated, and which parameter file this run belongs to
data_root: str = ""  # folder of medpix; empty: MEDMM_DATA
least: int = 10  # examples of a stratum that is shown
shown_cases: int = 3  # of the worst answers of each model
explained: int = 48  # images whose saliency maps are tested, at most
curve_images: int = 16  # of these, for deletion and insertion
curve_steps: int = 6  # of such a curve
explained_text: str = "caption"  # of 4M: caption, findings or boxes
benchmarks: list[str] = []  # of vqa_rad, slake and pmc_vqa, from the hub; from a folder, its path after a colon, as in slake:FOLDER
benchmark_questions: int = 500  # of each set that are asked, drawn at random; 0: all
longest: int = 16  # tokens of an answer to these
bert_model: str = ""  # for BERTScore, such as microsoft/deberta-base-mnli; empty: not computed
judge_server: str = ""  # OpenAI-compatible, such as http://localhost:11434/v1; empty: no judge
judge_model: str = ""  # the name that the server knows, such as llama3.1
judge_prompt: str = ""  # file; empty: report/judge_prompt.txt
judged_answers: int = 200  # of each model that BERTScore and judge are asked about, drawn at random
seed: int = 0  # of everything that is drawn

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# What chapters [02](02_lora_finetuning.ipynb), [03](03_fourm_pretraining.ipynb) and [05](05_contrastive_pretraining.ipynb) leave under the same profile: answers
# with and without the evidence, and models. What is not there is named with the command that makes it, and left out.

# %%
#| code-summary: "Imports"
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from IPython.display import HTML, Markdown, display

import medmm_lib.data
from medmm_lib import paths, plots, results
from medmm_lib.contrastive import explore as pictured
from medmm_lib.contrastive import labels as label_sets
from medmm_lib.contrastive import saliency as tower_saliency
from medmm_lib.contrastive.explain import region
from medmm_lib.contrastive.fitting import asked
from medmm_lib.contrastive.kept import kept as kept_tower
from medmm_lib.contrastive.material import Material
from medmm_lib.data import benchmarks as question_sets
from medmm_lib.data import questions
from medmm_lib.data.asked import with_images
from medmm_lib.evaluation import comparable, strata
from medmm_lib.evaluation.arms import auc_beside_first, in_words
from medmm_lib.evaluation.bert_score import bert_scores
from medmm_lib.evaluation.controls import control_table, controls
from medmm_lib.evaluation.explained import ceiling, enlarged, faithful, likeness, pointed
from medmm_lib.evaluation.facts import FACTS, named_right, seen
from medmm_lib.evaluation.gathered import MODEL, Answered, gather
from medmm_lib.evaluation.intervals import interval, mean
from medmm_lib.evaluation.judge import PROMPT, judged
from medmm_lib.evaluation.scored import LOWER_IS_BETTER, beside_controls, example_scores, neighbours
from medmm_lib.fourm import saliency as fourm_saliency
from medmm_lib.fourm.kept import kept as kept_fourm
from medmm_lib.sortable import sortable
from medmm_lib.vlm import evidence, explore, inference
from medmm_lib.vlm import saliency as vlm_saliency
from medmm_lib.vlm.kept import kept as kept_vlm

CHAPTER = "06_evaluation"
BASE, TUNED, FUSION, CAPTIONS = "PaliGemma, base", "PaliGemma, fine-tuned", "MAE + LLM tower, attention fusion", "4M, captions"

# %%
#| code-summary: "Gather what the chapters left"
answered, missing = gather(profile)
if not answered:
    raise FileNotFoundError("no chapter has left answers yet. Run " + "; ".join(f"`{command}`" for command in dict.fromkeys(missing.values())))
runs = {one.chapter: results.latest(profile, one.chapter) for one in answered}
used = {chapter: run["parameters"] for chapter, run in runs.items()}
source = {chapter: own["data"] if isinstance(own["data"], str) else own["data"][0] for chapter, own in used.items()}
datasets = {name: medmm_lib.data.load(name, data_root or None) for name in dict.fromkeys(source.values())}
fingerprints = {name: medmm_lib.data.fingerprint(name, data_root or None) for name in datasets}
record = results.RunRecord(CHAPTER, parameters, data={"name": " + ".join(datasets), "fingerprint": " + ".join(fingerprints.values())})
folder = {chapter: paths.artifacts(profile, chapter) for chapter in used}
by_name = {one.name: one for one in answered}
trained = [one for one in answered if one.name != BASE]  # whose failures are looked at


# %%
#| code-summary: "Helpers for prose and tables"
def slug(*names):
    """A flat name for a metric."""
    kept = "".join(letter if letter.isalnum() else " " for name in names for letter in f"{name} ".replace("+", "and").replace("×", "x"))
    return "_".join(kept.split())


def verdict(low, high, better=1):
    """What a difference says, from its interval; `better` −1 where lower is better."""
    return "too close to tell" if low <= 0 <= high or np.isnan(low) else "ahead" if (low > 0) == (better > 0) else "behind"


def titled(score):
    """A score's name as readers know it."""
    return {"closed": "closed questions right", "open": "open questions right", "bleu4": "BLEU-4 (sentence)", "cider": "CIDEr"}.get(score, score.replace("_", " ").replace("rouge", "ROUGE").replace("ROUGE l", "ROUGE-L").replace("token f1", "token F1"))


def joined(parts):
    """A list in words."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"


# %%
#| code-summary: "Public question sets, where asked for"
def asked_set(name, place):
    """The tuned model's answers to a public set, with and without the evidence."""
    if TUNED not in by_name:
        raise FileNotFoundError(f"benchmarks asks the tuned model: run `{missing[TUNED]}` first")
    found = question_sets.load(name, place)
    rows = found.dataset["test"]
    if 0 < benchmark_questions < len(rows):
        rows = rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:benchmark_questions]))
    model, collator, _ = kept_vlm(folder["02_lora_finetuning"], used["02_lora_finetuning"])
    lengths = [len(collator.processor.tokenizer(f"{collator.prompt.format(question=text)}\n")["input_ids"]) for text in rows["question"]]
    fitting = [k for k, length in enumerate(lengths) if length + 1 < collator.context]
    too_long, rows = len(rows) - len(fitting), rows.select(fitting)
    versions = {MODEL: rows} | controls(rows, found.dataset["train"], seed=seed)
    said = {condition: part["prediction"] if "prediction" in part.column_names else inference.answer(model, collator, part, longest=longest) for condition, part in versions.items()}
    frames = {condition: pd.DataFrame(inference.predictions(rows, texts, collator.prompt)) for condition, texts in said.items()}
    record.metrics |= {f"{name}_questions": len(rows), f"{name}_left_out": found.removed, f"{name}_too_long": too_long}
    return Answered(f"{TUNED}, on {name}", "02_lora_finetuning", frames)


sets = [asked_set(name, place) for name, _, place in (one.partition(":") for one in benchmarks)]

# %%
#| code-summary: "Score every answer beside its controls"
tables = {one.name: beside_controls(one) for one in answered + sets}
pairs = [(by_name[TUNED], by_name[BASE])] if {TUNED, BASE} <= set(by_name) else []
paired = {f"{first.name} to {second.name}": neighbours(first, second) for first, second in pairs}
for name, table in tables.items():
    for row in table.to_dict("records"):
        record.metrics |= {slug(name, row["score"], part): row[part] for part in ("value", "control_value", "lead", "lead_low", "lead_high") if part in row}
optional = {}
if bert_model:
    optional["BERTScore"] = lambda rows: bert_scores(rows["prediction"].tolist(), rows["reference"].tolist(), bert_model)
if judge_server:
    optional["judge"] = lambda rows: judged(*(rows[part].tolist() for part in ("question", "reference", "prediction")), server=judge_server, model=judge_model, prompt=Path(judge_prompt or PROMPT))
opinions = []
for one in answered + sets:
    few = np.sort(np.random.default_rng(seed).permutation(len(one.rows))[:judged_answers])
    for title, scores in optional.items():
        table = control_table(scores(one.rows.iloc[few]), {name: scores(rows.iloc[few]) for name, rows in one.conditions.items() if name != MODEL}, one.rows["patient_id"].iloc[few].tolist())
        opinions.append(table.assign(model=one.name, score=title))
        record.metrics |= {slug(one.name, title, row["condition"]): row["value"] for row in table.to_dict("records")}

# %%
#| code-summary: "Score the classifiers of chapter 05"
probed = folder.get("05_contrastive_pretraining", Path()) / "probabilities.parquet"
classified = {}
if probed.is_file():
    own, films = used["05_contrastive_pretraining"], datasets[source["05_contrastive_pretraining"]]
    classes = label_sets.chexpert() if own["labels"] == "chexpert" else label_sets.of_records(films["train"])
    truth, frame = classes.values(films["test"]), pd.read_parquet(probed)
    if set(frame["image_id"]) != set(films["test"]["image_id"]):
        raise ValueError(f"{probed} is of other images than {source['05_contrastive_pretraining']}: run 05_contrastive_pretraining again")
    for way, part in frame.groupby("way", sort=False):
        arms = {start: [rows.set_index("image_id").loc[films["test"]["image_id"], classes.names].to_numpy()] for start, rows in part.groupby("start", sort=False)}
        order = ["from scratch", *(start for start in arms if start != "from scratch")]
        classified[way] = auc_beside_first({start: arms[start] for start in order}, truth, classes.names, films["test"]["patient_id"])
        classified[way]["to MAE"] = [in_words(row, "difference", 3) if row["arm"] == "MAE + LLM" else "" for row in auc_beside_first({start: arms[start] for start in ("MAE", *order) if start in arms}, truth, classes.names, films["test"]["patient_id"]).set_index("arm").loc[order].reset_index().to_dict("records")]

# %%
#| code-summary: "Where they fail"
def main_score(one):
    """What is compared between strata: right or wrong; of captions ROUGE-L, as none is right word for word."""
    scores = example_scores(one.rows)
    return ("ROUGE-L", scores["rouge_l"]) if one.name == CAPTIONS else ("right", np.where(np.isnan(scores["closed"]), scores["open"], scores["closed"]))


def of_each(one):
    """What is known of every example, field → [N]."""
    dataset = datasets[source[one.chapter]]
    at = {image: place for place, image in enumerate(dataset["test"]["image_id"])}
    places = [at[image] for image in one.rows["image_id"]]
    known = {name: [dataset["test"][name][k] for k in places] for name in ("modality", "plane", "location_category", "age", "sex", "diagnosis")}
    seen = {(text or "").casefold().strip(" .") for text in dataset["train"]["diagnosis"]}
    told = [None if not text else "seen in training" if text.casefold().strip(" .") in seen else "never seen in training" for text in known["diagnosis"]]
    return {
        "modality": known["modality"], "plane": known["plane"], "location": known["location_category"],
        "question type": [kind.replace("location_category", "body region").replace("-closed", " (closed)") for kind in one.rows["type"]], "answer length": [strata.length_group(text) for text in one.rows["reference"]],
        "age": [strata.age_group(age) for age in known["age"]], "sex": known["sex"], "condition": told,
    }


failing = {}
for one in trained:
    title, values = main_score(one)
    parts = [strata.by_stratum(values, column, one.rows["patient_id"].tolist(), least=least).assign(field=field) for field, column in of_each(one).items()]
    parts = [part for part in parts if len(part) > 1] or [parts[0].iloc[:0]]
    table = pd.concat(parts, ignore_index=True)
    failing[one.name] = (title, float(np.nanmean(values)), table)
    for row in table[table["field"] == "condition"].to_dict("records"):
        record.metrics |= {slug(one.name, row["stratum"]): row["value"], slug(one.name, row["stratum"], "examples"): row["examples"]}

# %%
#| code-summary: "Do text metrics notice what is wrong?"
noticed = []
METRICS = {"edit_distance": "edit distance (fewer)", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "token_f1": "token F1"}
for one in trained:
    scores, groups = example_scores(one.rows), one.rows["patient_id"].tolist()
    about = {"closed questions": scores["closed"]} if one.name != CAPTIONS else {f"{fact} named": named_right(one.rows["prediction"].tolist(), one.rows["reference"].tolist(), reads) for fact, reads in FACTS.items()}
    for what, right in about.items():
        these = np.flatnonzero(~np.isnan(right))
        if len(these) and 0 < right[these].mean() < 1:
            row = {"model": one.name, "right or wrong": what, "examples": len(these), "right": right[these].mean()}
            for metric, title in METRICS.items():
                values = scores[metric][these] * (-1 if metric in LOWER_IS_BETTER else 1)
                row[title] = strata.agreement(values, right[these], [groups[k] for k in these])
                record.metrics[slug("agreement", one.name, what, metric)] = row[title].value
            noticed.append(row)

# %%
#| code-summary: "Saliency maps of the three models"
shown_maps = {}


def some(places):
    """At most `explained` of these places, drawn at random, in order."""
    places = np.asarray(places, dtype=int)
    return places if len(places) <= explained else np.sort(np.random.default_rng(seed).permutation(places)[:explained])


def lesions(chapter):
    """The known lesions of each test image of a chapter; none for those that are only possible."""
    return [[box for box in boxes or [] if not box["name"].startswith("possible")] for boxes in datasets[source[chapter]]["test"]["boxes"]]


chapter = "05_contrastive_pretraining"
if chapter in used and any(boxes := lesions(chapter)):
    own, films = used[chapter], datasets[source[chapter]]
    aligned = kept_tower(folder[chapter] / "model")
    material = Material.of(films, label_sets.chexpert() if own["labels"] == "chexpert" else label_sets.of_records(films["train"]), own["side"], own["text"], fingerprints[source[chapter]])
    test = material.test
    places = some([k for k in test.told if boxes[k]])
    texts = material.targets(own["language_model"], own["pooling"], folder[chapter] / "texts")[1]
    wanted = asked(aligned, aligned.texts, texts[np.searchsorted(test.told, places)])
    shown_maps["MAE + LLM tower"] = (tower_saliency.explained("MAE + LLM tower", aligned.tower, test.pixels[places], wanted, [test.patients[k] for k in places]), [boxes[k] for k in places])
chapter = "03_fourm_pretraining"
if chapter in used and any(boxes := lesions(chapter)):
    own, scans = used[chapter], datasets[source[chapter]]["test"]
    fourm, tokens = kept_fourm(folder[chapter], scans, side=own["side"], patch=own["patch"])
    if explained_text not in tokens.ids or explained_text == "patches":
        raise ValueError(f"explained_text is {explained_text!r}; chapter 03's model writes {', '.join(name for name in tokens.ids if name != 'patches')}")
    places = some([k for k, length in enumerate(tokens.lengths[explained_text].tolist()) if length > 1 and boxes[k]])
    shown_maps["4M encoder"] = (fourm_saliency.explained("4M encoder", fourm, tokens.rows(torch.from_numpy(places)), explained_text, [scans["patient_id"][k] for k in places]), [boxes[k] for k in places])
chapter = "02_lora_finetuning"
if chapter in used and used[chapter]["method"] == "lora" and any(boxes := lesions(chapter)):
    own, scans = used[chapter], datasets[source[chapter]]
    tuned, collator, base = kept_vlm(folder[chapter], own)
    made = questions.without_flags(questions.make(scans), own["removed_flags"])
    put = with_images(scans["test"], made["test"], side=own["side"] if own["base"] == "embedded" else None, without=own["removed_types"])
    of_image = dict(zip(scans["test"]["image_id"], boxes, strict=True))
    of_question = [[box for box in of_image[image] if kind == "finding" and answer == "Yes" and seen(box["name"]) == seen(question)] for image, kind, answer, question in zip(put["image_id"], put["type"], put["answer"], put["question"], strict=True)]
    places = some(np.flatnonzero([bool(own_boxes) for own_boxes in of_question]))
    lesion_questions = put.select(places)
    shown_maps["PaliGemma"] = (vlm_saliency.explained("PaliGemma, fine-tuned", tuned, collator, lesion_questions, base), [of_question[k] for k in places])

# %%
#| code-summary: "Put the maps to the test"
tested = {}
for name, (one, boxes) in shown_maps.items():
    regions = np.stack([region(own, one.images.shape[1]) for own in boxes])
    tested[name] = {"pointing": pointed(one, regions, seed), "ceiling": ceiling(one, regions), "curves": faithful(one, most=curve_images, steps=curve_steps, seed=seed), "likeness": {kind: interval(mean(values), one.patients) for kind, values in likeness(one).items()}}
    for kind, table in tested[name]["pointing"].items():
        for row in table.to_dict("records"):
            record.metrics[slug("pointing", name, kind, row["condition"])] = row["value"]
        chance = table.set_index("condition").loc["chance"]
        record.metrics |= {slug("pointing", name, kind, f"lead{end}"): chance[f"lead{end}"] for end in ("", "_low", "_high")}
        if not np.isnan(tested[name]["likeness"][kind].value):
            record.metrics[slug("likeness", name, kind)] = tested[name]["likeness"][kind].value

# %%
#| echo: false
lines = []
for one in answered:
    score = "rouge_l" if one.name == CAPTIONS else "closed"
    table = tables[one.name].set_index("score")
    if score in table.index and "lead" in table.columns:
        row = table.loc[score]
        what = "ROUGE-L of captions" if score == "rouge_l" else "closed questions right"
        lines.append(f"{one.name}: {what} {in_words(row)}, best control ({row['control']}) {row['control_value']:.2f}: {in_words(row, 'lead')}, {verdict(row['lead_low'], row['lead_high'])}.")
passed, failed = [], []
for name, one in tested.items():
    for kind, table in one["pointing"].items():
        rows = table.set_index("condition")
        above = [condition for condition in ("chance", "another patient's lesion", "random weights") if rows.loc[condition, "lead_low"] > 0]
        (passed if len(above) == 3 else failed).append(f"{name}, {kind} ({rows.loc['model', 'value']:.2f}; above {joined(above)})" if above else f"{name}, {kind} ({rows.loc['model', 'value']:.2f})")
record.metrics |= {"maps_pointing": len(passed), "maps_tested": len(passed) + len(failed)}
worst = [f"{name}: {row['field']} {row['stratum']} ({row['difference']:+.2f} [{row['difference_low']:+.2f}, {row['difference_high']:+.2f}])" for name, (_, _, table) in failing.items() for row in table.sort_values("difference").head(1).to_dict("records") if row["difference_high"] < 0]
plots.box("\n".join(f"- {line}" for line in [
    *lines,
    f"The weakest group of each model, to its other examples, where the interval excludes zero: {'; '.join(worst) or 'none'}.",
    (f"Saliency maps whose highest value lies on the lesion more often than chance, than on another patient's lesion and than with random weights: {'; '.join(passed) or 'none'}. Not: {'; '.join(failed) or 'none'}." if tested else "These images have no known lesions, so no saliency map could be tested."),
    "Published figures of other systems are listed with their sources. None stands beside ours: no set was asked here in the same split." if not sets else f"The tuned model was asked {joined(one.name for one in sets)}.",
    *([f"Left out, as it is not there: {'; '.join(f'{name} (`{command}`)' for name, command in missing.items())}."] if missing else []),
]), "callout-tip", title="Takeaway")

# %% [markdown]
# ## How it is measured
#
# A score says little by itself: a model that never looks can be right often, where one answer is frequent. So each score $s$ stands beside the same score $s_c$ under *controls*, which are without the
# evidence. The lead over the best control is paired, example by example:
#
# $$ \Delta = \frac{1}{N} \sum_{i=1}^{N} (s_i - s_{c,i}). $$
#
# Its interval draws *patients* with replacement, as images of one patient are not independent; the p-value flips the sign of a patient's whole difference at random. Closed questions (yes or no) are
# right by their first word, open ones word for word. The other metrics compare texts: edit distance [@levenshtein1966] in characters, BLEU-4 [@papineni2002] sentence by sentence with smoothing, ROUGE-L [@lin2004], CIDEr [@vedantam2015], and the overlap of words (recall, F1).
# A low p-value among a hundred comparisons is no discovery: about five of a hundred fall below 0.05 by chance.

# %%
#| label: tbl-controls
#| tbl-cap: "The controls of each model. The most frequent training answer to the same question needs no model; an untuned base has no other."
plots.table(pd.DataFrame([{"model": one.name, "questions": len(one.rows), "patients": one.rows["patient_id"].nunique(), "controls": joined(name for name in one.conditions if name != MODEL)} for one in answered + sets]))

# %% [markdown]
# ## All scores, with their controls

# %%
#| label: tbl-scores
#| tbl-cap: "Every score of every model on held-out patients, with 95 % intervals over patients, the best control of that score, and the model's paired lead over it. Lower is better for both edit distances, so a negative lead is good there. Of public question sets, no one says whose an image is: intervals there are over images. Click on a column's name to sort."
shown, by = [], {"value": [], "lead": []}
for name, table in tables.items():
    for row in table.to_dict("records"):
        lead = "lead" in row and not pd.isna(row["lead"])
        shown.append({"model": name, "score": titled(row["score"]), "n": int(row["examples"]), "value": in_words(row), "best control": f"{row['control']}, {row['control_value']:.2f}" if lead else "none", "lead": in_words(row, "lead") if lead else "", "p": f"{row['p']:.4f}" if lead else ""})
        by["value"].append(row["value"])
        by["lead"].append(row["lead"] if lead else "")
sortable(pd.DataFrame(shown), by, tall=True)

# %%
#| echo: false
if opinions:
    shown = [{"model": row["model"], "score": row["score"], "condition": row["condition"], "value": in_words(row), "lead": "" if pd.isna(row["lead"]) else in_words(row, "lead")} for table in opinions for row in table.to_dict("records")]
    display(Markdown(f"Other models' opinions of the same answers, of {judged_answers} answers a model at most; a verdict without a number does not count:"), plots.table(pd.DataFrame(shown)))
else:
    display(Markdown("BERTScore and a language model as judge are off; the parameters `bert_model` and `judge_server` switch them on. Both are other models' opinions."))

# %%
#| label: tbl-neighbours
#| tbl-cap: "Two models on the questions that both were asked, paired: the tuned model and its base."
shown = [{"pair": name, "score": titled(row["score"]), "n": row["examples"], "first": f"{row['first']:.2f}", "second": f"{row['second']:.2f}", "difference": in_words(row, "difference"), "p": f"{row['p']:.4f}"} for name, table in paired.items() for row in table.to_dict("records")]
plots.table(pd.DataFrame(shown)) if shown else Markdown("No two models were asked the same questions.")

# %%
#| label: tbl-classifiers
#| tbl-cap: "Classifiers of chapter 05: mean AUC over labels on held-out patients. The control is the same classifier on an encoder that was never trained (*from scratch*). Differences by the paired bootstrap over patients."
shown = [{"classifier": way, "encoder": row["arm"], "mean AUC": in_words(row, digits=3), "to from scratch": "" if row["arm"] == "from scratch" else in_words(row, "difference", 3), "to MAE": row["to MAE"]} for way, table in classified.items() for row in table.to_dict("records")]
plots.table(pd.DataFrame(shown)) if shown else Markdown("Chapter 05 left no classifiers.")

# %% [markdown]
# The models stand on different data and questions, so scores of different chapters are not compared with each other.
#
# ## Where they fail
#
# The same score by what is known of patient, image and question. Strata overlap: where all films are frontal, plane and modality are the same rows. *Others* are all examples outside of the stratum. The untuned base is left out of this and the next section.

# %%
#| label: fig-strata
#| fig-cap: "Score by stratum, with 95 % intervals over patients. The line is the mean of all examples. Choose a model above the figure."
#| fig-alt: "Points with intervals for each stratum of modality, plane, location, question type, answer length, age, sex and condition; one model at a time."
figure = go.Figure()
plotted = [name for name, (_, _, table) in failing.items() if len(table)]
if not plotted:
    raise ValueError(f"no stratum has {least} examples of {strata.PATIENTS} patients: lower `least`")
for name in plotted:
    title, overall, table = failing[name]
    order = table.iloc[::-1]
    labels = [f"{row['field']}: {row['stratum']} (n = {row['examples']})" for row in order.to_dict("records")]
    figure.add_scatter(x=order["value"], y=labels, mode="markers", marker={"size": 9}, showlegend=False, visible=name == plotted[0], error_x={"type": "data", "symmetric": False, "array": order["high"] - order["value"], "arrayminus": order["value"] - order["low"]}, hovertemplate="%{y}: %{x:.2f}<extra></extra>")
    figure.add_scatter(x=[overall, overall], y=[labels[0], labels[-1]], mode="lines", line={"dash": "dot"}, showlegend=False, visible=name == plotted[0], hoverinfo="skip")
buttons = [{"label": name, "method": "update", "args": [{"visible": [other == name for other in plotted for _ in range(2)]}, {"xaxis.title.text": failing[name][0]}]} for name in plotted]
figure.update_layout(height=160 + 22 * max(len(failing[name][2]) for name in plotted), margin={"l": 260, "t": 70}, updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}])
figure.update_xaxes(title=failing[plotted[0]][0], range=[-0.03, 1.03])
plots.show(figure, alt="; ".join(f"{name}: worst {worst['field']} {worst['stratum']} with {worst['value']:.2f}, mean {overall:.2f}" for name, (_, overall, table) in failing.items() if len(table) for worst in [table.loc[table["value"].idxmin()]]) + ".")

# %%
#| label: tbl-strata
#| tbl-cap: "The same as numbers, with the difference to all other examples. Sorted by the difference."
shown, by = [], {"score": [], "difference": []}
for name, (title, _, table) in failing.items():
    for row in table.sort_values("difference").to_dict("records"):
        shown.append({"model (score)": f"{name} ({title})", "group": f"{row['field']}: {row['stratum']}", "n (patients)": f"{row['examples']} ({row['patients']})", "score": in_words(row), "others": f"{row['others']:.2f}", "difference": in_words(row, "difference")})
        by["score"].append(row["value"])
        by["difference"].append(row["difference"])
sortable(pd.DataFrame(shown), by, tall=True)

# %%
#| echo: false
compared = sum(len(table) for _, _, table in failing.values())
clear = sum(int((table["difference_high"] < 0).sum() + (table["difference_low"] > 0).sum()) for _, _, table in failing.values())
record.metrics |= {"strata_compared": compared, "strata_clear": clear}
told = []
for name, (title, _, table) in failing.items():
    rows = table[table["field"] == "condition"].set_index("stratum")
    if "never seen in training" in rows.index:
        row = rows.loc["never seen in training"]
        told.append(f"{name}: {title} {row['value']:.2f} on {row['examples']} examples with a condition that training never saw, {row['others']:.2f} on all others, {in_words(row, 'difference')}, {verdict(row['difference_low'], row['difference_high'])}")
display(Markdown(f"Of {compared} strata, {clear} differ from the other examples by more than their interval; about {compared / 20:.0f} would by chance if none did. **Unseen conditions.** {'; '.join(told)}." if told else f"Of {compared} strata, {clear} differ from the other examples by more than their interval; about {compared / 20:.0f} would by chance if none did. **Unseen conditions.** All held-out conditions with enough examples stand in training too."))

# %% [markdown]
# ### Worst cases
#
# The answers with the lowest word overlap (token F1), ties drawn at random.

# %%
#| echo: false
for one in trained:
    dataset = datasets[source[one.chapter]]["test"]
    at = {image: place for place, image in enumerate(dataset["image_id"])}
    scores = example_scores(one.rows)["token_f1"]
    display(Markdown(f"**{one.name}**"))
    said = one.rows.to_dict("records")
    display(HTML("".join(explore.case(said[k] | {"answer": said[k]["reference"], "image": dataset[at[said[k]["image_id"]]]["image"]}, {"prediction": said[k]["prediction"]}, f"token F1 {scores[k]:.2f}") for k in inference.cases(scores, shown_cases, seed)["worst"])))

# %% [markdown]
# ## Do text metrics notice what is wrong?
#
# A metric agrees with correctness where right answers score above wrong ones. The table gives that chance (an AUC): 1 is always, 0.5 a coin. For closed questions, right is the right yes or no. For captions, right is naming the same plane, side or finding as the
# reference caption.

# %%
#| label: tbl-agreement
#| tbl-cap: "How often a text metric scores a right answer above a wrong one, with 95 % intervals over patients. 0.5 is chance."
shown = [{name: (in_words(vars(value)) if hasattr(value, "low") else f"{value:.2f}" if isinstance(value, float) else value) for name, value in row.items()} for row in noticed]
plots.table(pd.DataFrame(shown)) if shown else Markdown("No model gave both right and wrong answers.")

# %%
#| echo: false
flat = [f"{title} on {row['right or wrong']} ({row['model']}, {row[title].value:.2f})" for row in noticed for title in METRICS.values() if row[title].low < 0.6]
display(Markdown(f"Where a reference is one word, a metric has little to get wrong; where it is a sentence, it may be. Metrics whose agreement may be as low as 0.6: {'; '.join(flat) or 'none here'}."))

# %% [markdown]
# ## Do they look at the lesion?
#
# Three ways to say what an output depends on: the weights of attention *pooling*; attention *rollout* [@abnar2020], which follows attention through all layers,
# $\tilde A_l = \tfrac12 (A_l + I)\, \tilde A_{l-1}$, and does not know what is predicted; and *gradient × attention* [@chefer2021], which keeps what raises the output,
# $R_l = R_{l-1} + \overline{(\nabla A_l \odot A_l)^+}\, R_{l-1}$. What is explained: for the tower, the likeness of image and report; for 4M, how likely the reference text is; for PaliGemma, how likely "Yes" is to a question on a finding that is there. *Likely* means log-odds, averaged over the text's tokens without its end;
# gradients are those of the tokens' raw scores, as published.

# %%
#| echo: false
if shown_maps:
    for name, (one, boxes) in shown_maps.items():
        display(Markdown(f"**{name}**: {one.about}. Boxes: known lesions."))
        blocks, side = [], one.images.shape[1]
        for k in range(min(2, len(boxes))):
            grey = one.images[k] if one.images[k].ndim == 2 else one.images[k].mean(-1).astype(np.uint8)
            blocks.append(pictured.picture(grey, "image", boxes[k]))
            blocks += [pictured.picture(pictured.heat(enlarged(values[k], side), grey), kind, boxes[k]) for kind, values in one.maps.items()]
            blocks.append(pictured.picture(pictured.heat(enlarged(list(one.randomised.values())[-1][k], side), grey), f"{list(one.maps)[-1]}, random weights", boxes[k]))
        display(HTML(pictured.side_by_side(blocks)))
else:
    display(Markdown("These images have no known lesions."))

# %% [markdown]
# **Pointing.** Does the highest value lie on the lesion [@zhang2016]? A map has one value a patch, so what counts is the share of the best patch that lesions cover; *at most* is what the best patch of every image would have. For the tower and 4M any lesion
# of the image counts, for PaliGemma that of the finding it is asked about. Against three controls: the lesions' share of the image (chance), the lesion of another patient (knowing where lesions tend to be), and the same model with random weights.

# %%
#| label: tbl-pointing
#| tbl-cap: "Pointing score on n held-out images with a known lesion, and paired leads over the controls, with 95 % intervals over patients. In brackets: chance itself."
shown = []
for name, one in tested.items():
    for kind, table in one["pointing"].items():
        rows = table.set_index("condition")
        shown.append({"map": f"{name}, {kind}", "n": len(shown_maps[name][1]), "on the lesion": in_words(rows.loc["model"]), "at most": f"{one['ceiling']:.2f}", "to chance": f"{in_words(rows.loc['chance'], 'lead')} ({rows.loc['chance', 'value']:.2f})"} | {title: in_words(rows.loc[condition], "lead") for title, condition in (("to another's lesion", "another patient's lesion"), ("to random weights", "random weights"))})
plots.table(pd.DataFrame(shown)) if shown else Markdown("Nothing to point at.")

# %% [markdown]
# **Deletion and insertion** [@petsiuk2018]. Places are turned grey in the order of the map, most important first, or shown alone on grey. The area under the score's curve should be lower than with a control's order when deleted,
# higher when inserted. Controls: three random orders, and the map of another patient's image, as a map that knows that bodies are in the middle already beats a random order. This asks whether the map is true to the model, not whether the model is right.

# %%
#| label: tbl-curves
#| tbl-cap: "Area under the deletion and insertion curves, in the units of what is explained (likeness, or log-odds a token), and paired leads over the controls with 95 % intervals over patients. Ahead: the interval says that the map is better than both."
shown = []
for name, one in tested.items():
    for row in one["curves"].to_dict("records"):
        better = 1 if row["curve"] == "insertion" else -1
        said = {verdict(row[f"to_{control}_low"], row[f"to_{control}_high"], better) for control in ("random", "others")}
        shown.append({"map": f"{name}, {row['map']}", "curve": row["curve"], "area": f"{row['value']:.2f}", "to random order": in_words(row, "to_random"), "to another's map": in_words(row, "to_others"), "verdict": said.pop() if len(said) == 1 else "not better than both"})
record.metrics["maps_faithful"] = sum(row["verdict"] == "ahead" for row in shown)
plots.table(pd.DataFrame(shown)) if shown else Markdown("Nothing to delete.")

# %% [markdown]
# **Sanity check** [@adebayo2018]. A map that stays the same when all weights are drawn at random says nothing of what was learned. The table gives the absolute rank correlation between both maps, for one draw of random weights. We count the check as passed where the interval stays below 0.5, which is less than a quarter of the order shared; the
# threshold is ours.

# %%
#| label: tbl-sanity
#| tbl-cap: "Absolute value of Spearman's rank correlation between the maps of a trained model and of the same model with random weights, mean over images with 95 % intervals over patients."
shown = [{"model": name, "map": kind, "correlation": in_words(vars(value)), "passed": "can't be tested: a map is flat" if np.isnan(value.value) else "yes" if value.high < 0.5 else "no"} for name, one in tested.items() for kind, value in one["likeness"].items()]
record.metrics |= {"sanity_passed": sum(row["passed"] == "yes" for row in shown), "sanity_tested": sum(row["passed"] in ("yes", "no") for row in shown)}
plots.table(pd.DataFrame(shown)) if shown else Markdown("Nothing to compare.")

# %% [markdown]
# In JupyterLab: from image to answer, and from answer to image. Choose a question, hide the places that a map marks, and see whether the answer changes; or type an answer and see what of the image speaks for it.

# %% tags=["widget"]
evidence.widget(tuned, collator, lesion_questions) if "PaliGemma" in shown_maps else Markdown("This needs chapter 02 with a LoRA adapter.")

# %% [markdown]
# ## Other systems, and what their licences allow
#
# Each cell leads to its source; what has no source that can be traced is left out. *With conditions*: read the terms first. A licence of the code is not one of the weights, and terms change; this is not legal advice.

# %%
#| label: tbl-systems
#| tbl-cap: "Systems of similar size or purpose: parameters, training data, licence, and whether commercial use is allowed. Hover over a link to see where in the source. Click on a column's name to sort."
facts = comparable.read()
comparable.systems(facts)

# %%
#| label: tbl-published
#| tbl-cap: "Figures as their authors publish them, in per cent unless they say otherwise, with the benchmark, the split and the metric as they word it. Figures of different rows are comparable only where all three are the same, and they rarely are: some models were fine-tuned on the set, some never saw it."
comparable.published(facts)

# %% [markdown]
# Two traps in such a table. VQA-RAD was made from MedPix, so a model trained on MedPix, as ours are in the profile `medpix`, may have seen its images. And "accuracy on open questions" is in some papers the recall of the reference's words, in others an exact match, in others a choice among all
# training answers.

# %%
#| echo: false
if sets:
    display(Markdown(f"Asked in this run, with scores and controls in @tbl-scores: {joined(one.name for one in sets)}. Ultrasound and fluoroscopy are left out, so these are not the published splits."))
else:
    display(Markdown("Our own models stand beside none of these figures: this run asked none of these sets. The parameter `benchmarks` asks the tuned model VQA-RAD, SLAKE or PMC-VQA, from a folder or from the hub, without ultrasound and fluoroscopy."))

# %% [markdown]
# ## Limits
#
# - Phantom images are drawn and their texts come from the same drawing. Nothing here says anything about patients.
# - Intervals say which patients were held out, not how another training would end; each model is one training.
# - Many strata and metrics were compared. What is not several times as far from zero as its interval is wide may be chance.
# - A saliency map shows where a model looks, not that it understands. Maps of a few large patches can hardly hit small lesions.
# - Explaining the reference answer, as here, says where the evidence for it is, also when the model would have said something else.

# %%
#| echo: false
summary = record.save()
results.card(summary)

# %%
#| echo: false
chosen = {slug(TUNED, "closed", "value"): "Closed questions right, PaliGemma fine-tuned", slug(TUNED, "closed", "control_value"): "… best control", slug(FUSION, "closed", "value"): "Closed questions right, attention fusion", slug(FUSION, "closed", "control_value"): "… best control", slug(CAPTIONS, "rouge_l", "value"): "ROUGE-L of captions, 4M", slug(CAPTIONS, "rouge_l", "control_value"): "… best control", "maps_pointing": "Maps that point at lesions beyond all controls", "maps_tested": "… of", "sanity_passed": "Maps that pass the sanity check", "strata_clear": "Strata that differ", "strata_compared": "… of"}
results.beside_record(summary, {name: title for name, title in chosen.items() if name in summary["metrics"]})

# %% [markdown]
# ## What's next
#
# A later chapter asks how large a model and how much data a wanted loss needs, and what that costs.
