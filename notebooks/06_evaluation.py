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
shown_cases: int = 3  # of the best, the middle and the worst answers of each model
explained: int = 48  # images whose saliency maps are tested, at most
curve_images: int = 12  # of these, for deletion and insertion
curve_steps: int = 6  # of such a curve
explained_text: str = "caption"  # of 4M: caption, findings or boxes
benchmarks: list[str] = []  # of vqa_rad, slake, pmc_vqa, roco and mimic_cxr, from MEDMM_DATA or the hub; from a folder, its path after a colon, as in slake:FOLDER
benchmark_questions: int = 500  # of each set that are asked, drawn at random; 0: all
longest: int = 16  # tokens of an answer to these
bert_model: str = ""  # for BERTScore, such as microsoft/deberta-base-mnli; empty: not computed
judge_server: str = ""  # OpenAI-compatible, such as http://localhost:11434/v1; empty: no judge
judge_model: str = ""  # the name that the server knows, such as llama3.1
judge_prompt: str = ""  # file; empty: report/prompts/judge.txt
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
# with and without the evidence, and models. If something is missing, the page names the command that makes it and goes on without it.

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
from medmm_lib.evaluation import comparable, example_page, strata
from medmm_lib.evaluation.arms import auc_beside_first, in_words
from medmm_lib.evaluation.bert_score import bert_scores
from medmm_lib.evaluation.controls import control_table, controls
from medmm_lib.evaluation.explained import BLANK, ceiling, enlarged, faithful, likeness, pointed
from medmm_lib.evaluation.facts import FACTS, seen
from medmm_lib.evaluation.gathered import MODEL, Answered, gather
from medmm_lib.evaluation.intervals import interval, mean
from medmm_lib.evaluation.judge import PROMPT, judged
from medmm_lib.evaluation.scored import LOWER_IS_BETTER, beside_controls, example_scores, neighbours
from medmm_lib.fourm import saliency as fourm_saliency
from medmm_lib.fourm.kept import kept as kept_fourm
from medmm_lib.sortable import sortable
from medmm_lib.vlm import evidence, inference
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
answered = trained + [one for one in answered if one.name == BASE]
embedded = any(own.get("base") == "embedded" for own in used.values())
drawn = all(name.startswith("phantom") for name in datasets)


# %%
#| code-summary: "Helpers for prose and tables"
def slug(*names):
    """A flat name for a metric."""
    kept = "".join(letter if letter.isalnum() else " " for name in names for letter in f"{name} ".replace("+", "and").replace("×", "x"))
    return "_".join(kept.split())


def verdict(low, high, better=1, p=0.0):
    """What a difference says: its interval and, where there is one, its p-value must agree; `better` −1 where lower is better."""
    close = low <= 0 <= high or np.isnan(low) or p >= 0.05
    return "too close to tell" if close else "ahead" if (low > 0) == (better > 0) else "behind"


def titled(score):
    """A score's name as readers know it."""
    named = {"findings": "questions on findings right", "plane": "plane named", "side": "side named", "finding": "finding named"}
    return (named | {"closed": "closed questions right", "open": "open questions right", "bleu4": "BLEU-4 (sentence)", "cider": "CIDEr"}).get(score, score.replace("_", " ").replace("rouge", "ROUGE").replace("ROUGE l", "ROUGE-L").replace("token f1", "token F1"))


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
    record.metrics |= {f"{name}_questions": len(rows), f"{name}_left_out": found.removed, f"{name}_unreadable": found.unreadable, f"{name}_too_long": too_long}
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
    optional["judge"] = lambda rows: judged(*(rows[part].tolist() for part in ("question", "reference", "prediction")), server=judge_server, model=judge_model, prompt=Path(judge_prompt or PROMPT), kept=paths.artifacts(profile, CHAPTER) / "verdicts.sqlite")
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
def right_or_like(rows):
    """What is compared between strata: right or wrong; of captions ROUGE-L, as none is right word for word."""
    scores = example_scores(rows)
    return scores["rouge_l"] if set(rows["type"]) == {"caption"} else np.fmax(scores["closed"], scores["open"])


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
    values, groups = right_or_like(one.rows), one.rows["patient_id"].tolist()
    under = {name: right_or_like(rows) for name, rows in one.conditions.items() if name != MODEL}
    best = max(under, key=lambda name: np.nanmean(under[name]))
    parts, known = [], set()
    for field, column in of_each(one).items():
        same = pd.factorize(pd.Series(column, dtype=object))[0].tobytes()
        tables_of = [strata.by_stratum(scores, column, groups, least=least).set_index("stratum") for scores in (values, under[best], values - under[best])]
        if len(tables_of[0]) < 2 or same in known:  # a field with one group, or the same groups as another field
            continue
        known.add(same)
        own, control, lead = tables_of
        parts.append(own.assign(field=field, control=control["value"], lead=lead["value"], lead_low=lead["low"], lead_high=lead["high"]).reset_index())
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["stratum", "field"])
    failing[one.name] = ("ROUGE-L" if set(one.rows["type"]) == {"caption"} else "right", best, float(np.nanmean(values)), table)
    for row in table.to_dict("records"):
        if row["field"] == "condition":
            record.metrics |= {slug(one.name, row["stratum"]): row["value"], slug(one.name, row["stratum"], "examples"): row["examples"]}

# %%
#| code-summary: "Do text metrics notice what is wrong?"
noticed = []
METRICS = {"edit_distance": "edit distance (fewer)", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "token_f1": "token F1"}
for one in trained:
    scores, groups = example_scores(one.rows), one.rows["patient_id"].tolist()
    about = {"closed questions": scores["closed"]} if one.name != CAPTIONS else {f"{fact} named": scores[fact] for fact in FACTS}
    for what, right in about.items():
        these = np.flatnonzero(~np.isnan(right))
        if len(these) and 0 < right[these].mean() < 1:
            row = {"model": one.name.split(",")[0], "right or wrong": what, "right of all": f"{int(right[these].sum())} of {len(these)}"}
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
    shown_maps["MAE + LLM tower"] = (tower_saliency.explained(aligned.tower, test.pixels[places], wanted, [test.patients[k] for k in places]), [boxes[k] for k in places])
chapter = "03_fourm_pretraining"
if chapter in used and any(boxes := lesions(chapter)):
    own, scans = used[chapter], datasets[source[chapter]]["test"]
    fourm, tokens = kept_fourm(folder[chapter], scans, side=own["side"], patch=own["patch"])
    if explained_text not in tokens.ids or explained_text == "patches":
        raise ValueError(f"explained_text is {explained_text!r}; chapter 03's model writes {', '.join(name for name in tokens.ids if name != 'patches')}")
    places = some([k for k, length in enumerate(tokens.lengths[explained_text].tolist()) if length > 1 and boxes[k]])
    shown_maps["4M encoder"] = (fourm_saliency.explained(fourm, tokens.rows(torch.from_numpy(places)), explained_text, [scans["patient_id"][k] for k in places]), [boxes[k] for k in places])
chapter = "02_lora_finetuning"
if chapter in used and used[chapter]["method"] == "lora" and any(boxes := lesions(chapter)):
    own, scans = used[chapter], datasets[source[chapter]]
    tuned, collator, base = kept_vlm(folder[chapter], own)
    made = questions.without_flags(questions.make(scans), own["removed_flags"])
    put = with_images(scans["test"], made["test"], side=own["side"] if own["base"] == "embedded" else None, without=own["removed_types"])
    of_image = dict(zip(scans["test"]["image_id"], boxes, strict=True))
    of_question = [[box for box in of_image[image] if kind == "finding" and answer == "Yes" and seen(question) and seen(box["name"]) == seen(question)] for image, kind, answer, question in zip(put["image_id"], put["type"], put["answer"], put["question"], strict=True)]
    places = some(np.flatnonzero([bool(own_boxes) for own_boxes in of_question]))
    lesion_questions = put.select(places)
    shown_maps["PaliGemma"] = (vlm_saliency.explained(tuned, collator, lesion_questions, base), [of_question[k] for k in places])

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
HEADLINES = {TUNED: ("findings", "open"), CAPTIONS: ("finding", "side", "plane"), FUSION: ("findings",)}
lines = []
for name, scores in HEADLINES.items():
    table = tables[name].set_index("score") if name in tables else pd.DataFrame()
    told = [f"{titled(score)} {in_words(row)}, best control ({row['control']}) {row['control_value']:.2f}, {verdict(row['lead_low'], row['lead_high'], p=row['p'])}" for score in scores if score in table.index for row in [table.loc[score]]]
    lines += [f"**{name}**: {'; '.join(told)}."] if told else []
passed, failed = [], []
for name, one in tested.items():
    for kind, table in one["pointing"].items():
        rows = table.set_index("condition")
        above = [condition for condition in ("chance", "another patient's lesion", "random weights") if rows.loc[condition, "lead_low"] > 0]
        (passed if len(above) == 3 else failed).append(f"{name}, {kind} ({rows.loc['model', 'value']:.2f}, chance {rows.loc['chance', 'value']:.2f})")
record.metrics |= {"maps_pointing": len(passed), "maps_tested": len(passed) + len(failed)}
weakest = {}
for name, (_, _, _, table) in failing.items():
    behind = table[table["lead_high"] < 0].sort_values("lead") if len(table) else table
    if len(behind):
        row = behind.iloc[0]
        weakest[name] = f"{name} on {row['field']} {row['stratum']} ({row['value']:.2f} against {row['control']:.2f}; {row['examples']} examples of {row['patients']} patients)"
noticing = [f"{row['right or wrong'].replace(' named', '')} {sum(row[title].low > 0.5 for title in METRICS.values())}" for row in noticed if row["right or wrong"].endswith("named")]
lines = [line for line in [
    f"All models here are tiny stand-ins, trained in minutes: nothing here is about the released PaliGemma or 4M.{' Their images are drawn: nothing here is about patients.' if drawn else ''}" if embedded else "",
    *lines,
    f"Furthest behind its control: {'; '.join(weakest.values())}." if weakest else "In no group of examples is a model clearly behind its control.",
    f"How many of {len(METRICS)} text metrics score captions that name the right thing clearly above others: {joined(noticing)}." if noticing else "",
    f"Of {len(passed) + len(failed)} kinds of saliency map, {len(passed)} point at the lesion more often than chance, than at another patient's lesion and than with random weights: {'; '.join(passed) or 'none'}." if tested else "No lesion is known in these images, so no saliency map could be tested.",
    f"The tuned model was asked {joined(one.name for one in sets)}." if sets else "What other systems publish is listed with its sources. Our models were not asked the same questions, so none of those figures stands beside ours.",
    f"Left out, as it is not there: {'; '.join(f'{name} (`{command}`)' for name, command in missing.items())}." if missing else "",
] if line]
plots.box("\n".join(f"- {line}" for line in lines), "callout-tip", title="Takeaway")

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
#| tbl-cap: "Every score of every model on held-out patients, with 95 % intervals over patients, the best control of that score, and the model's paired lead over it; ahead or behind where the interval excludes zero and p is below 0.05. Lower is better for both edit distances, so a negative lead is good there. Of public question sets, no one says whose an image is: intervals there are over images. Click on a column's name to sort."
shown, by = [], {"value": [], "lead": []}
for name, table in tables.items():
    for row in table.to_dict("records"):
        lead = "lead" in row and not pd.isna(row["lead"])
        shown.append({"model": name, "score": titled(row["score"]), "n": int(row["examples"]), "value": in_words(row), "best control": f"{row['control']}, {row['control_value']:.2f}" if lead else "none", "lead": in_words(row, "lead") if lead else "", "": verdict(row["lead_low"], row["lead_high"], -1 if row["score"] in LOWER_IS_BETTER else 1, row["p"]) if lead else ""})
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
#| tbl-cap: "Two models on the questions that both were asked, paired: the tuned one and its base."
shown = [{"score": titled(row["score"]), "n": row["examples"], "tuned": f"{row['first']:.2f}", "base": f"{row['second']:.2f}", "difference": in_words(row, "difference"), "p": "below 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"} for name, table in paired.items() for row in table.to_dict("records") if row["score"] in ("findings", "closed", "open", "token_f1")]
plots.table(pd.DataFrame(shown)) if shown else Markdown("No two models were asked the same questions.")

# %%
#| label: tbl-classifiers
#| tbl-cap: "Classifiers of chapter 05: mean AUC over labels on held-out patients. The control starts from random weights (*from scratch*): frozen under the linear probe, trained under fine-tuning. Differences by the paired bootstrap over patients."
shown = [{"classifier": way, "encoder": row["arm"], "mean AUC": in_words(row, digits=3), "lead over from scratch": "" if row["arm"] == "from scratch" else in_words(row, "difference", 3), "lead over MAE": row["to MAE"]} for way, table in classified.items() for row in table.to_dict("records")]
plots.table(pd.DataFrame(shown)) if shown else Markdown("Chapter 05 left no classifiers.")

# %% [markdown]
# The models stand on different data and questions, so scores of different chapters are not compared with each other.
#
# ## Where they fail
#
# The same score by what is known of patient, image and question, beside the best control: a group is weak where the model is behind its control there, not where questions are hard. Groups overlap; of two fields that make the same groups, such as plane and modality where all films are
# frontal, the first is shown. *Others* are all examples outside of the group. The untuned base is left out of this and the next section.

# %%
#| label: fig-strata
#| fig-cap: "Score by group, with 95 % intervals over patients (dots), and the best control in the same group (rings). The line is the model's mean. Choose a model above the figure."
#| fig-alt: "Points with intervals for each group by modality, plane, location, question type, answer length, age, sex and condition, with the control's score; one model at a time."
figure = go.Figure()
plotted = [name for name, (_, _, _, table) in failing.items() if len(table)]
if not plotted:
    raise ValueError(f"no group has {least} examples of {strata.PATIENTS} patients: lower `least`")
AXES = {"right": "share of questions right", "ROUGE-L": "ROUGE-L"}
for name in plotted:
    title, control, overall, table = failing[name]
    order = table.iloc[::-1]
    labels = [f"{row['field'].replace('question ', '')}: {row['stratum']}" for row in order.to_dict("records")]
    told = [f"{row['examples']} examples of {row['patients']} patients" for row in order.to_dict("records")]
    figure.add_scatter(x=order["control"], y=labels, mode="markers", name=f"{control}", marker={"size": 11, "symbol": "circle-open", "color": "#D55E00"}, visible=name == plotted[0], hovertemplate="%{y}, control: %{x:.2f}<extra></extra>")
    figure.add_scatter(x=order["value"], y=labels, mode="markers", name="model", marker={"size": 8, "color": "#0072B2"}, customdata=told, visible=name == plotted[0], error_x={"type": "data", "symmetric": False, "array": order["high"] - order["value"], "arrayminus": order["value"] - order["low"]}, hovertemplate="%{y}: %{x:.2f}, %{customdata}<extra></extra>")
    figure.add_scatter(x=[overall, overall], y=[labels[0], labels[-1]], mode="lines", line={"dash": "dot", "color": "#0072B2"}, showlegend=False, visible=name == plotted[0], hoverinfo="skip")
buttons = [{"label": name.split(",")[0], "method": "update", "args": [{"visible": [other == name for other in plotted for _ in range(3)]}, {"xaxis.title.text": AXES[failing[name][0]]}]} for name in plotted]
figure.update_layout(height=200 + 22 * max(len(failing[name][3]) for name in plotted), margin={"l": 8, "t": 90}, legend={"y": -0.12, "yanchor": "top"}, updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.03, "yanchor": "bottom"}])
figure.update_yaxes(automargin=True, tickfont={"size": 12})
figure.update_xaxes(title=AXES[failing[plotted[0]][0]], range=[-0.03, 1.03])
plots.show(figure, alt="; ".join(f"{name}: lowest {worst['field']} {worst['stratum']} with {worst['value']:.2f} (control {worst['control']:.2f}), mean {overall:.2f}" for name, (_, _, overall, table) in failing.items() if len(table) for worst in [table.loc[table["value"].idxmin()]]) + ".")

# %%
#| label: tbl-strata
#| tbl-cap: "The same as numbers: the score, its paired lead over the best control in the same group, and its difference to all other examples. Sorted by the lead."
shown, by = [], {"score": [], "lead": [], "to others": []}
for name, (_, _, _, table) in failing.items():
    for row in table.sort_values("lead").to_dict("records"):
        shown.append({"model": name.split(",")[0], "group": f"{row['field']}: {row['stratum']}", "n (patients)": f"{row['examples']} ({row['patients']})", "score": in_words(row), "lead": in_words(row, "lead"), "to others": in_words(row, "difference")})
        by["score"].append(row["value"])
        by["lead"].append(row["lead"])
        by["to others"].append(row["difference"])
sortable(pd.DataFrame(shown), by, tall=True)

# %%
#| echo: false
every = pd.concat([table for _, _, _, table in failing.values()])
record.metrics |= {"strata_compared": len(every), "strata_behind": int((every["lead_high"] < 0).sum()), "strata_ahead": int((every["lead_low"] > 0).sum())}
told = []
for name, (title, _, _, table) in failing.items():
    for row in table[table["stratum"] == "never seen in training"].to_dict("records"):
        told.append(f"{name}: {title} {row['value']:.2f} on {row['examples']} examples of {row['patients']} patients with a condition that training never saw, {row['others']:.2f} on all others, {in_words(row, 'difference')}, {verdict(row['difference_low'], row['difference_high'])}")
display(Markdown(f"Of {len(every)} groups, models are ahead of their control in {record.metrics['strata_ahead']} and behind it in {record.metrics['strata_behind']}, by intervals that exclude zero. Groups overlap, and many were compared: a single one near zero means little.\n\n**Unseen conditions.** {'; '.join(told) + '.' if told else 'All held-out conditions with enough examples stand in training too.'}"))

# %% [markdown]
# ### Examples
#
# The best, the middle and the worst answers of each model by word overlap (token F1), ties drawn at random. What it says without the evidence stands beside: where the answer stays the same, the image was not needed for it.

# %%
#| echo: false
told = [f"{one.name}: {int((example_scores(one.rows)['token_f1'] == 0).sum())} of {len(one.rows)} answers" for one in trained]
display(Markdown(f"Answers that share no word with the reference: {'; '.join(told)}."))
if drawn:
    pictures = {name: dict(zip(parts["test"]["image_id"], parts["test"]["image"], strict=True)) for name, parts in datasets.items()}
    display(example_page.page({one.name: example_page.chosen(one, pictures[source[one.chapter]], shown_cases, seed) for one in trained}))
else:
    display(Markdown("Examples with their images are shown of drawn data only: the images of this run's data may not be published here. Every answer stands in the chapters' `predictions.jsonl`."))

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
told = []
for row in noticed:
    said = {title: "prefer right answers" if row[title].low > 0.5 else "prefer wrong answers" if row[title].high < 0.5 else "can't tell" for title in METRICS.values()}
    grouped = {}
    for title, what in said.items():
        grouped.setdefault(what, []).append(title)
    told.append(f"{row['model']}, {row['right or wrong']}: " + "; ".join(f"{joined(titles)} {what}" for what, titles in grouped.items()))
display(Markdown("By intervals that exclude 0.5: " + ". ".join(told).replace("can't tell", "can't tell them apart") + ". Where all references are one word, every metric is right by construction."))

# %% [markdown]
# ## Do they look at the lesion?
#
# Three ways to say what an output depends on: the weights of attention *pooling*; attention *rollout* [@abnar2020], which multiplies the attention $A_l$ of all layers, half of each layer passing by,
# $\tilde A_l = \tfrac12 (A_l + I)\, \tilde A_{l-1}$, and does not know what is predicted; and *gradient × attention* [@chefer2021], which keeps only the attention that raises the output,
# $R_l = R_{l-1} + \overline{(\nabla A_l \odot A_l)^+}\, R_{l-1}$ (the mean over heads of its positive part). What is explained: for the tower, the likeness of image and report; for 4M, how likely the reference text is; for PaliGemma, how likely "Yes" is to a question on a finding that is there. *Likely* means the log-odds of the text's tokens, averaged.
#
# Yellow: high; blue: low; boxes: drawn lesions.

# %%
#| echo: false
if shown_maps:
    for name, (one, boxes) in shown_maps.items():
        display(Markdown(f"**{name}**: {one.about}. Boxes: known lesions."))
        side, first = one.images.shape[1], list(dict(zip(one.patients[::-1], range(len(boxes))[::-1], strict=True)).values())[::-1]
        for k in first[:2]:  # of two patients
            grey = one.images[k] if one.images[k].ndim == 2 else one.images[k].mean(-1).astype(np.uint8)
            blocks = [pictured.picture(pictured.heat(enlarged(values[k], side), grey), kind, boxes[k]) for kind, values in one.maps.items()]
            blocks.append(pictured.picture(pictured.heat(enlarged(one.randomised["rollout"][k], side), grey), "rollout, random weights", boxes[k]))
            display(HTML(pictured.side_by_side([pictured.picture(grey, "image", boxes[k]), *blocks])))
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

# %%
#| echo: false
told = []
for name, (one, _) in shown_maps.items():
    few = range(min(len(one.images), curve_images))
    whole, blank = (np.array([one.score(k, image(k)[None])[0] for k in few]) for image in (lambda k, own=one: own.images[k], lambda k, own=one: np.full_like(own.images[k], BLANK)))
    loss = interval(mean(whole - blank), [one.patients[k] for k in few])
    told.append(f"{name} {whole.mean():.2f} on whole images and {blank.mean():.2f} on grey ones ({loss.value:+.2f} [{loss.low:+.2f}, {loss.high:+.2f}]{'' if loss.low > 0 else ': the image does not raise it, so no map of it can be put to this test'})")
display(Markdown(f"What is explained: {'; '.join(told)}.")) if told else None

# %% [markdown]
# **Sanity check** [@adebayo2018]. A map that stays the same when all weights are drawn at random says nothing of what was learned. The table gives the absolute rank correlation between both maps, for one draw of random weights. We count the check as passed where the interval stays below 0.5; the threshold is ours.

# %%
#| label: tbl-sanity
#| tbl-cap: "Absolute value of Spearman's rank correlation between the maps of a trained model and of the same model with random weights, mean over images with 95 % intervals over patients."
shown = [{"model": name, "map": kind, "correlation": in_words(vars(value)), "passed": "can't be tested: a map is flat" if np.isnan(value.value) else "yes" if value.high < 0.5 else "no"} for name, one in tested.items() for kind, value in one["likeness"].items()]
record.metrics |= {"sanity_passed": sum(row["passed"] == "yes" for row in shown), "sanity_tested": sum(row["passed"] in ("yes", "no") for row in shown)}
plots.table(pd.DataFrame(shown)) if shown else Markdown("Nothing to compare.")

# %% [markdown]
# In JupyterLab, not on this page: from image to answer, and from answer to image. Choose a question, hide the places that a map marks, and see whether the answer changes; or type an answer and see what of the image speaks for it.

# %% tags=["widget"]
evidence.widget(tuned, collator, lesion_questions) if "PaliGemma" in shown_maps else Markdown("This needs chapter 02 with a LoRA adapter.")

# %% [markdown]
# ## Other systems, and what their licences allow
#
# Each link leads to its source; what has no source that can be traced is left empty. *With conditions*: read the terms first. A licence of the code is not one of the weights, and terms change; this is not legal advice.

# %%
#| label: tbl-systems
#| tbl-cap: "Systems of similar size or purpose: parameters, training data, licence, and whether commercial use is allowed. Hover over a link to see where in the source. Click on a column's name to sort."
facts = comparable.read()
comparable.systems(facts)

# %%
#| label: tbl-published
#| tbl-cap: "Figures as published by their authors or, where the row says so, by others, in per cent unless they say otherwise, with the benchmark, the split and the metric as they word it. Figures of different rows are comparable only where all three are the same, and they rarely are: some models were fine-tuned on the set, some never saw it."
comparable.published(facts)

# %% [markdown]
# Two traps in such a table. VQA-RAD was made from MedPix, so a model trained on MedPix, as ours are in the profile `medpix`, may have seen its images. And "accuracy on open questions" is in some papers the recall of the reference's words, in others an exact match, in others a choice among all
# training answers.

# %%
#| echo: false
sizes = {"02_lora_finetuning": "base_parameters", "03_fourm_pretraining": "parameters", "05_contrastive_pretraining": "tower_parameters"}
ours = [f"{runs[chapter]['metrics'][name]:,} (chapter {chapter[:2]})" for chapter, name in sizes.items() if chapter in runs]
display(Markdown(f"Our own models have {joined(ours)} weights; what they were trained on is in their chapters. The code of this report is under the MIT licence; what was trained from a base of others, or on their data, stays under their terms."))
if sets:
    display(Markdown(f"Asked in this run, with scores and controls in @tbl-scores: {joined(one.name for one in sets)}. Ultrasound and fluoroscopy are left out, so these are not the published splits."))
else:
    display(Markdown("Our own models stand beside none of these figures: this run asked none of these sets. The parameter `benchmarks` asks the tuned model VQA-RAD, SLAKE, PMC-VQA, or template questions on ROCO or MIMIC-CXR-JPG, from a folder or from the hub, without ultrasound and fluoroscopy."))

# %% [markdown]
# ## Limits
#
# - Phantom images are drawn and their texts come from the same drawing. Nothing here says anything about patients.
# - Intervals say which patients were held out, not how another training would end; each model is one training.
# - Many groups and metrics were compared. A single lead whose interval only just excludes zero may be chance.
# - A saliency map marks what a method attributes an output to, not that the model understands. Maps of a few large patches can hardly hit small lesions.
# - What is explained is the reference answer, also where the model would have said something else.
# - The sanity check and the control *random weights* rest on one draw of random weights.

# %% [markdown]
# ## Run card

# %%
#| echo: false
summary = record.save()
results.card(summary)

# %%
#| echo: false
chosen = {slug(TUNED, "open", "value"): "Open questions right, fine-tuned", slug(TUNED, "open", "control_value"): "… best control", slug(TUNED, "findings", "value"): "Questions on findings right, fine-tuned", slug(TUNED, "findings", "control_value"): "… best control", slug(FUSION, "findings", "value"): "Questions on findings right, attention fusion", slug(FUSION, "findings", "control_value"): "… best control", slug(CAPTIONS, "plane", "value"): "Captions that name the plane, 4M", slug(CAPTIONS, "plane", "control_value"): "… best control", "maps_pointing": "Maps that point at lesions beyond all controls", "maps_tested": "… of", "sanity_passed": "Maps that pass the sanity check", "sanity_tested": "… of", "strata_behind": "Groups in which a model is behind its control", "strata_ahead": "Groups in which it is ahead", "strata_compared": "… of"}
results.beside_record(summary, {name: title for name, title in chosen.items() if name in summary["metrics"]})

# %% [markdown]
# ## What's next
#
# [Chapter 07](07_scaling_laws.ipynb) asks what a given quality costs: how many weights, how much data, how many hours of which GPU.
