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
# ---

# %% [markdown]
# # Data preparation
#
# **Question.** What can a model learn radiology question answering from, and how is it kept from being tested on what it has
# already seen?
#
# Every source has a loader, and all give one schema: MedPix 2.0 [@siragusa2024] and others, or the embedded phantom data. This chapter shows what is
# in the data, splits it by patient, audits the split, writes question/answer pairs and says which of them it removes and why.

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to
data: str = "phantom"  # phantom, medpix or roco
data_root: str = ""  # folder of the data, or of the folders of several sources; empty: the one that MEDMM_DATA names
others: list[str] = []  # sources that are shown beside it, where their folders are there: medpix, roco, mimic_cxr
audited: int = 0  # captions to read of those that ROCO's rules leave out, and as many of those that stay
split: str = "official"  # official, stratified
validation_cases: int = 25  # of the stratified split
test_cases: int = 25  # of the stratified split
removed_flags: list[str] = ["volumetric", "measurement", "history", "long_answer", "answer_given_away", "filler", "not_visual"]  # quality flags whose pairs are left out
engines: list[str] = ["template"]  # whose pairs go into the data set: template, llm
llm_server: str = ""  # address of an OpenAI-compatible server, such as http://localhost:11434/v1; empty: none is asked
llm_model: str = ""  # the name by which the server knows the model
llm_prompts: int = 0  # prompts of each split at most; 0: one for each image, two for each topic text
llm_tokens: int = 400  # of a reply, at most
llm_timeout: float = 120.0  # seconds, for one try
llm_retries: int = 5  # after failures that may pass
llm_at_once: int = 4  # prompts under way at a time
llm_prices: list[float] = [0.0, 0.0]  # euros for a million tokens of prompts, and of replies
llm_texts: str = "report/llm_phantom"  # folder of questions that a language model wrote before; empty: none. Relative to data_root, of phantom data to the project
push_to_hub: str = ""  # repository to upload the question data set to (private), such as user/name; empty: no upload
studies: list[str] = []  # none in this chapter
seed: int = 0  # of the stratified split

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# None: the phantom data is made on the spot. For MedPix 2.0: `medmm data fetch medpix --to FOLDER`, set `MEDMM_DATA` to that
# folder, then `medmm run --profile medpix --only 01_data_preparation`. `medmm data fetch` brings ROCOv2 and public question sets,
# too; MIMIC-CXR-JPG comes from PhysioNet, to those who have signed for it.

# %%
#| code-summary: "Imports"
import inspect
import json
import os
from collections import Counter
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from textwrap import shorten

import datasets
import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from instant_clip_tokenizer import Tokenizer
from IPython.display import HTML, Markdown, display

import medmm_lib.data
from medmm_lib import chat, paths, plots, results
from medmm_lib.data import browse, export, llm_questions, llm_text, medpix, quality, questions, roco, schema, splits
from medmm_lib.data.loaded import DataError
from medmm_lib.data.pair_statistics import pair_statistics

datasets.disable_progress_bars()
CHAPTER = "01_data_preparation"
if data == "mimic_cxr":
    raise ValueError("data is mimic_cxr, which is credentialed: it is shown beside another source (others), not written out again or sent to a model")
if not engines or set(engines) - {"template", "llm"} or ("llm" in engines and not llm_server):
    raise ValueError(f"engines is {engines}; expected template, llm or both, and for llm an llm_server")

# %%
#| code-summary: "Read the data and split it"
loaded = medmm_lib.data.loaded(data, data_root or None)
report = loaded.report
fingerprint = medmm_lib.data.fingerprint(data, data_root or None)
record = results.RunRecord(CHAPTER, parameters, data={"name": data, "fingerprint": fingerprint, "note": report.note})

if split not in ("official", "stratified"):
    raise ValueError(f"split is {split!r}; expected official or stratified")


def resplit(parts):
    return parts if split == "official" else splits.stratified(parts, validation=validation_cases, test=test_cases, seed=seed)


dataset = resplit(loaded.dataset)
images = pd.concat([dataset[name].remove_columns(["image", "mask", "labels"]).to_pandas() for name in schema.SPLITS])

# %%
#| code-summary: "Write the questions, audit the split"
made_by = {"template": questions.make(dataset)}
if llm_server:
    server = chat.Server(llm_server, llm_model, max_tokens=llm_tokens, timeout=llm_timeout, retries=llm_retries, at_once=llm_at_once)
    written = llm_questions.write(dataset, server, paths.artifacts(profile, CHAPTER) / "replies.sqlite", most=llm_prompts)
    made_by["llm"] = written.questions
raw_pairs = datasets.DatasetDict({part: datasets.concatenate_datasets([made_by[engine][part] for engine in engines]) for part in schema.SPLITS})
pairs, moved = questions.keep_shared_topics_in_training(raw_pairs)
kept = questions.without_flags(pairs, removed_flags)

as_it_comes = medmm_lib.data.LOADERS.get(data, medpix).read(report.root, raw=True).dataset
before = splits.leakage_counts(resplit(as_it_comes)) | {"topic text": splits.leakage_counts(raw_pairs)["topic text"]}
after = splits.leakage_counts(dataset) | {"topic text": splits.leakage_counts(kept)["topic text"]}
unseen, held_out = splits.unseen_conditions(dataset)

record.metrics |= {
    "cases": images["case_id"].nunique(),
    "images": len(images),
    "skipped_records": len(report.skipped),
    "nulled_texts": sum(texts.total() for texts in report.nulled.values()),
    "not_one_plane": report.marked.total(),
    "distinct_captions": images["caption"].nunique(),
    "images_sharing_a_caption": int(images["caption"].dropna().duplicated(keep=False).sum()),
    "leaks_before": sum(before.values()),
    "leaks_after": sum(after.values()),
    "held_out_conditions": held_out,
    "unseen_conditions": unseen,
    "literature_pairs_moved": moved,
    "pairs_made": sum(raw_pairs.num_rows.values()),
    "pairs_kept": sum(kept.num_rows.values()),
}
record.metrics |= {f"nulled_{name}": texts.total() for name, texts in report.nulled.items()}

# %%
#| echo: false
m = record.metrics
phantom_note = (
    " The data is a phantom with known truth: it shows that the pipeline works and says nothing about medicine."
    if data == "phantom"
    else ""
)
plots.box(f"""
- {results.number(m['images'])} images of {results.number(m['cases'])} cases come through; {m['skipped_records']} records were skipped and
  {results.number(m['nulled_texts'])} placeholder texts became null.
- The split leaks {m['leaks_before']} texts as it comes and {m['leaks_after']} after repair.
- {f'{unseen} of {held_out} validation and test cases have a diagnosis that no training case has.' if held_out else 'No diagnoses come with this data.'}
- {' and '.join({'template': 'Templates', 'llm': 'a language model'}[engine] for engine in engines).capitalize()} make {results.number(m['pairs_made'])} question/answer pairs; {results.number(m['pairs_kept'])} pass the quality flags.{phantom_note}
""", "callout-tip", title="Takeaway")

# %% [markdown]
# ## What the data is

# %%
#| echo: false
published = pd.read_csv(paths.REPORT / "published.csv").set_index("what")["value"]
Markdown(
    f"The notes planned with {published['MedPix website: patient cases']:,.0f} cases and {published['MedPix website: images']:,.0f} images. "
    "That is the MedPix website. MedPix 2.0, the data set that can be downloaded, is much smaller [@siragusa2024]."
)

# %%
#| label: tbl-sizes
#| tbl-cap: "Sizes as published, and what this run read."
published = pd.read_csv(paths.REPORT / "published.csv")
published = published[published["what"].str.startswith("MedPix")].astype({"value": int})
ours = pd.DataFrame(
    [(f"This run ({data}): cases", m["cases"], "counted"), (f"This run ({data}): images", m["images"], "counted")],
    columns=["what", "value", "source"],
)
plots.table(pd.concat([published, ours]))

# %%
#| label: fig-regions
#| fig-cap: "Images by body region and modality."
#| fig-alt: "Bars of the number of images in each body region, one colour a modality."
counts = images.fillna({"location_category": "not given", "modality": "not known"}).groupby(["location_category", "modality"]).size().reset_index(name="images")
counts["location_category"] = counts["location_category"].str.replace(" and ", "<br>and ")
figure = px.bar(counts, y="location_category", x="images", color="modality", labels={"location_category": "", "images": "Images", "modality": ""})
figure.update_yaxes(categoryorder="total ascending")
figure.update_layout(height=320)
largest = images["location_category"].fillna("not given").value_counts()
plots.show(figure, alt=f"Images by body region; the largest is {largest.index[0]} with {largest.iloc[0]:,} images of {len(images):,}.")

# %%
#| label: fig-treemap
#| fig-cap: "Where the images are from: body region, location and plane. Click a field to go into it."
#| fig-alt: "Treemap of images by body region, location and plane."
fields = ["location_category", "location", "plane"]
tree = images[fields].fillna("not given").groupby(fields).size().reset_index(name="images")
figure = px.treemap(tree, path=fields, values="images", color_discrete_sequence=plots.PALETTE)
figure.update_layout(height=480, margin={"l": 0, "r": 0, "t": 8, "b": 0})
plots.show(figure, alt="Treemap: " + "; ".join(f"{name} {count:,}" for name, count in largest.items()) + " images.")

# %%
#| label: fig-age
#| fig-cap: "Age and sex of the patients. Cases without an age are not drawn."
#| fig-alt: "Histogram of the patients' ages in decades, one colour a sex."
patients = images.drop_duplicates("patient_id").assign(sex=lambda frame: frame["sex"].fillna("not given"))
figure = px.histogram(patients.dropna(subset="age"), x="age", color="sex", nbins=10, labels={"age": "Age (years)", "sex": ""})
figure.update_yaxes(title="Patients")
plots.show(
    figure,
    alt="No patient has an age." if patients["age"].isna().all() else f"Ages from {patients['age'].min():.0f} to {patients['age'].max():.0f} years, median {patients['age'].median():.0f}; "
    f"{int(patients['age'].isna().sum())} of {len(patients):,} patients have no age.",
)

# %%
#| label: fig-captions
#| fig-cap: "Length of the captions; an image without a caption counts as 0 words."
#| fig-alt: "Histogram of caption lengths in words."
words = images["caption"].fillna("").str.split().str.len()
record.metrics |= {"caption_words_median": float(words.median()), "caption_words_max": int(words.max())}
figure = px.histogram(x=words, nbins=40, labels={"x": "Words"})
figure.update_yaxes(title="Images")
plots.show(figure, alt=f"Captions have {words.min()} to {words.max()} words, median {words.median():.0f}; 90 % have at most {words.quantile(0.9):.0f}.")

# %% [markdown]
# Several images of a case can share one caption, so a caption is often a sentence about the case, not about the image.

# %%
planes = images["plane"].fillna("not given").value_counts()
Markdown(
    f"{results.number(m['images_sharing_a_caption'])} images share their caption with another image; there are "
    f"{results.number(m['distinct_captions'])} distinct captions. Planes: "
    + ", ".join(f"{plots.literal(name)} {count:,}" for name, count in planes.items())
    + f". {m['not_one_plane']} images are montages, 3D reconstructions, photographs or drawings and are marked as such."
)

# %% [markdown]
# ## What each source adds
#
# Every source is read into the same schema and can be mixed with others by weight ([chapter 03](03_fourm_pretraining.ipynb)). MedPix 2.0 [@siragusa2024] has cases with captions and literature, ROCO [@pelka2018; @ruckert2024] figures of
# articles with their captions, MIMIC-CXR-JPG [@johnson2019] chest X-ray images with reports and 14 labels [@irvin2019].
# Ultrasound and fluoroscopy are left out, by rules on what a caption names first; each rule says how many figures it took.

# %%
#| label: tbl-sources
#| tbl-cap: "What each source adds, as read in this run."
def described(name, one):
    """A row on one source."""
    every = pd.concat([one.dataset[part].select_columns(["modality", "caption", "findings", "topic", "labels"]).to_pandas() for part in schema.SPLITS])
    texts = ", ".join(f"{field} {every[field].notna().mean():.0%}" for field in ("caption", "findings", "topic", "labels") if every[field].notna().any())
    kinds_of = every["modality"].fillna("not known").value_counts()
    record.metrics.update({f"source_{name}_images": one.report.images, f"source_{name}_cases": one.report.cases, f"source_{name}_left_out": one.report.removed.total()})
    return {"source": name, "images": f"{one.report.images:,}", "cases": f"{one.report.cases:,}", "kinds of image": ", ".join(f"{kind} {count:,}" for kind, count in kinds_of.items()), "texts and labels": texts, "left out": "; ".join(f"{rule} {count:,}" for rule, count in one.report.removed.most_common()) or "nothing"}


here = {data: loaded}
for name in others:
    with suppress(DataError):
        medmm_lib.data.folder(name, data_root or None)  # is it there?
        here[name] = None
here = {name: one or medmm_lib.data.loaded(name, data_root or None) for name, one in here.items()}
plots.table(pd.DataFrame([described(name, one) for name, one in here.items()]))

# %%
#| echo: false
absent = [name for name in others if name not in here]
if absent:
    display(Markdown(f"Not in this run, as their folders are not there: {', '.join(absent)}."))
elif not others:
    display(Markdown("This run reads no other source: the parameter `others` names them."))
if audited and "roco" in here:
    display(Markdown("Captions to read: who reads them sees how often ROCO's rules are wrong."))
    display(plots.table(roco.audit(here["roco"].report.root, audited, seed)))
else:
    display(Markdown("How often the rules on captions are wrong was counted by reading some of ROCO's: see the [journal](../journal/2026-11-23-more-sources.qmd). With `audited`, a run shows captions to read."))

# %% [markdown]
# ## Looking at cases
#
# These are phantom studies, whatever data the numbers are from: the truth is drawn over the image. The patient's left is at
# the image's right, as radiologists read it. In JupyterLab the widget goes through every case of the training data.

# %%
HTML(browse.page(list(medmm_lib.data.examples())))

# %% tags=["widget"]
browse.widget(dataset["train"])

# %% [markdown]
# ## What was wrong with it
#
# A record that can't be trusted is skipped and listed. A text that only says that nothing was written becomes null, and is
# counted. Nothing else is changed.

# %%
#| label: tbl-nulled
#| tbl-cap: "Placeholder texts that became null, by field."
fields = ("caption", "history", "findings", "diagnosis", "discussion", "topic", "location", "plane", "sequence", "age", "sex")
nulled = {name: report.nulled.get(name, Counter()) for name in fields}
rows = [(name, texts.total(), ", ".join(f"{text} ({count})" for text, count in texts.most_common(4))) for name, texts in nulled.items()]
plots.table(pd.DataFrame(rows, columns=["field", "texts", "most frequent"]))

# %%
lines = [f"- `{skip.record}` in `{skip.file}`: {skip.reason}" for skip in report.skipped[:20]] + (["- …"] if len(report.skipped) > 20 else [])
unmapped = "; ".join(f"{name}: {', '.join(texts)}" for name, texts in report.unmapped.items()) or "none"
Markdown(
    f"{len(report.skipped)} of {results.number(report.records)} records were skipped. Planes and sequences that the vocabulary does not "
    f"know, kept as they are: {unmapped}.\n\n" + "\n".join(lines)
)

# %% [markdown]
# ## The split and its audit
#
# The split is by patient. The audit looks for patients, cases, identical image bytes, captions, and topic texts that
# questions are made from, in two splits. Before repair, placeholder captions count as captions. After repair, literature
# questions about a topic text that stands in two splits are in training only.

# %%
#| label: tbl-audit
#| tbl-cap: "What stands in two splits: as the data comes, and after repair."
plots.table(pd.DataFrame([(what, before[what], after[what]) for what in before], columns=["what", "before", "after"]))

# %%
#| label: tbl-splits
#| tbl-cap: "The official split and a stratified one. Unseen: validation and test cases whose diagnosis no training case has."
compared, rows = {"official": loaded.dataset}, []
try:
    compared["stratified"] = splits.stratified(loaded.dataset, validation=validation_cases, test=test_cases, seed=seed)
except ValueError as error:
    display(Markdown(f"There is no stratified split: {error}."))
for name, parts in compared.items():
    new, total = splits.unseen_conditions(parts)
    cases = " / ".join(f"{len(set(parts[part]['case_id'])):,}" for part in schema.SPLITS)
    size = " / ".join(f"{len(parts[part]):,}" for part in schema.SPLITS)
    rows.append((name, cases, size, f"{new} of {total}", len(splits.leakage(parts))))
    record.metrics |= {f"unseen_{name}": new, f"held_out_{name}": total}
plots.table(pd.DataFrame(rows, columns=["split", "cases (train / validation / test)", "images", "unseen", "leaks"]))

# %% [markdown]
# A held-out set of a few dozen cases is small: a score on it has wide intervals, which chapters that use it show. Topics are
# compared as whole texts; two texts that share some sentences count as different.
#
# ## Questions and answers
#
# The engine `template` writes pairs from the fields, the caption and the topic text, the same ones every time. Image
# questions ask about modality, sequence, plane, region, findings and diagnosis. Literature questions ask what a disease is
# (beginners) and about imaging, treatment and causes (experts). Closed questions are answered by yes or no. Whether a finding
# is there is asked only when the caption says so or denies it; a hedged finding is not asked about, and none where several
# images share the caption, which then does not say what this image shows.

# %%
#| label: tbl-pairs
#| tbl-cap: "Pairs that the templates made, and how many of them stay."
def kinds(parts):
    rows = (row for part in parts.values() for row in part.select_columns(["kind", "level", "form"]))
    return Counter((row["kind"], row["level"] or "", row["form"]) for row in rows)


made, stay = kinds(pairs), kinds(kept)
closed = [row["answer"] for part in kept.values() for row in part if row["form"] == "closed" and "-finding-" in row["question_id"]]
record.metrics |= {"finding_questions": len(closed), "finding_questions_yes_percent": 100 * closed.count("Yes") / max(len(closed), 1)}
plots.table(pd.DataFrame([(*key, made[key], stay[key]) for key in sorted(made)], columns=["kind", "level", "form", "made", "kept"]))

# %%
#| echo: false
Markdown(
    f"Of the {results.number(m['finding_questions'])} closed questions on findings, {m['finding_questions_yes_percent']:.0f} % are answered by yes: "
    "a model that always says yes scores as much on them. A score is therefore shown beside the majority answer's."
)

# %%
if data == "phantom":
    some = kept["train"].shuffle(seed=0).select(range(10))
    text = "\n".join(f"- *{row['kind']}* — **{row['question']}** {row['answer']}" for row in some)
else:
    text = "Examples are shown from phantom data only: run the quick profile."
Markdown(text)

# %% [markdown]
# ## Questions that a language model writes
#
# The engine `llm` asks a model on any OpenAI-compatible server (Ollama, vLLM, `transformers serve`), with prompts that are files in `report/prompts`: one for an image, of which the caption and the other fields are told, and two for a topic
# text, for beginners and for experts. Replies are kept by a hash of what decides them, so that a run that was stopped asks for what is missing only. The parser reads `Q:`/`A:` text as Llama-style models write it, with numbers, bold marks and
# filler around it.

# %%
reply = """Here are the question-answer pairs:

**Q1:** Which side is the mass on?
A: Left

Q: How large is the mass?
A: 3 x 2 cm

Let me know if you'd like me to generate more!"""
example = llm_text.parse(reply)
Markdown("Found: " + "; ".join(f"“{q}” → “{a}”" for q, a in example.pairs) + ". Left over: " + "; ".join(f"“{line}”" for line in example.left_over) + ".")

# %%
#| code-summary: "Read what was written before"
def triples(parts):
    return [(row["image_id"], row["question"], row["answer"], row["kind"]) for part in parts.values() for row in part]


pair_sets = {"templates": triples(made_by["template"])}
if llm_server:
    pair_sets[Path(llm_model).name] = triples(made_by["llm"])
    reasons, seconds = Counter(one.reason for one in written.aside), sum(one.seconds for one in written.replies) / llm_at_once
    record.metrics |= {
        "llm_prompts": len(written.replies), "llm_pairs": sum(made_by["llm"].num_rows.values()), "llm_aside": len(written.aside),
        "llm_retries": sum(one.retries for one in written.replies), "llm_tokens": sum(one.tokens for one in written.replies),
        "llm_tokens_per_s": sum(one.tokens for one in written.replies) / max(seconds, 1e-9), "llm_euros": written.cost(*llm_prices),
    }
    lines = "".join(json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in written.aside)
    paths.write_atomically(paths.artifacts(profile, CHAPTER) / "aside.jsonl", lines)
    display(Markdown(
        f"{llm_model} was asked {m['llm_prompts']} prompts and wrote {m['llm_pairs']} pairs: {m['llm_tokens_per_s']:.0f} tokens a second, {m['llm_retries']} tries again, {m['llm_euros']:.2f} euros. Kept aside in `aside.jsonl`: "
        + (", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "nothing") + "."
    ))
llm_folder = (paths.ROOT if data == "phantom" else Path(data_root or os.environ.get("MEDMM_DATA", ".")).expanduser()) / llm_texts
if llm_texts and not llm_folder.is_dir():
    display(Markdown(f"There is no folder `{llm_texts}`: no questions that were written before were read."))
for path in sorted(llm_folder.glob("*.json")) if llm_texts else []:
    texts = json.loads(path.read_text(encoding="utf-8"))
    read_texts = [(text["image_id"], llm_text.parse(text["qa_pairs"])) for text in texts]
    pair_sets[path.stem] = [(image, q, a, "image") for image, found in read_texts for q, a in found.pairs]
    record.metrics |= {"llm_texts": len(texts), "llm_texts_without_pairs": sum(not found.pairs for _, found in read_texts)}
for path in sorted(llm_folder.glob("*.csv")) if llm_texts else []:
    table = pd.read_csv(path, keep_default_na=False)
    names = table["image_id"].map(lambda name: Path(name).stem)
    pair_sets[path.stem] = list(zip(names, table["question"], table["answer"], ["image"] * len(table), strict=True))
if "llm_texts" in record.metrics:
    display(Markdown(
        f"Read {results.number(m['llm_texts'])} texts that a language model wrote before; the parser found no pair in {m['llm_texts_without_pairs']} of them. "
        "Files of pairs are read as they are: each pair names an image, but many ask about the case or its literature."
    ))

# %% [markdown]
# ### Templates against a language model
#
# Templates repeat a few phrasings and are right as far as the fields are. A model phrases questions anew, and can invent. Here is what each made of the same image.

# %%
#| label: tbl-side
#| tbl-cap: "Left: what a language model wrote; right: what templates made from the caption and the fields, for the same image; up to four pairs of each. The model is a very small one, with 135 million parameters: it shows the form, not what a large model can do."
if data == "phantom":
    models = [name for name in pair_sets if name != "templates"]
    both = [image for image in dict.fromkeys(image for image, _, _, kind in pair_sets[models[0]] if kind == "image")] if models else []

    def lines_of(name, image):
        """The first four pairs, each in a line; long texts shortened."""
        pairs_of = [(q, a) for one, q, a, _ in pair_sets[name] if one == image][:4]
        return [f"{shorten(q, 120, placeholder=' …')} — {shorten(a, 120, placeholder=' …')}" for q, a in pairs_of]

    beside = [(image, *pair) for image in both[:4] for pair in zip_longest(lines_of(models[0], image), lines_of("templates", image), fillvalue="")]
    shown = pd.DataFrame(beside, columns=["image", f"by {models[0]}", "by templates"]) if both else None
    display(Markdown("No language model wrote about these images.") if shown is None else plots.table(shown))
else:
    display(Markdown("Examples are shown from phantom data only: run the quick profile."))

# %%
#| label: tbl-writers
#| tbl-cap: "Image questions by writer: length, variety, and how often the question holds its answer word for word. The measures of variety depend on the number of pairs, so they are taken on equally many of each, drawn at random."
about_images = {name: [(q, a) for _, q, a, kind in rows if kind == "image"] for name, rows in pair_sets.items()}
about_images = {name: rows for name, rows in about_images.items() if rows}
drawn = min(1000, *map(len, about_images.values()))
rows = []
for name, made in about_images.items():
    few = [made[place] for place in np.random.default_rng(seed).permutation(len(made))[:drawn]]
    numbers = pair_statistics(few)
    record.metrics |= {f"{name}_{part}": value for part, value in numbers.items()}
    rows.append({
        "writer": name, "pairs": f"{len(made):,}", "of these drawn": drawn, "words of a question, median": f"{numbers['question_words']:.0f}", "words of an answer, median": f"{numbers['answer_words']:.0f}",
        "distinct questions": f"{numbers['distinct_questions']:.0%}", "distinct pairs of neighbouring words": f"{numbers['distinct_2']:.0%}", "different openings in 100 questions": f"{numbers['openings']:.0f}",
        "answer stands in the question": f"{numbers['answer_in_question']:.1%}",
    })
plots.table(pd.DataFrame(rows).set_index("writer").T.rename_axis(index="measure", columns=None).reset_index())

# %% [markdown]
# ## What was removed and why
#
# The first fine-tuning runs suffered from pairs like these. A flag is a rule over words, with one line of definition, an
# example that it catches and one that it leaves alone.

# %%
#| echo: false
Markdown(inspect.getdoc(quality.flags).partition("\n\n")[2])

# %% [markdown]
# `not_visual` counts for image questions only.

# %%
#| label: tbl-flags
#| tbl-cap: "Share of the pairs that carry each flag, and of those that carry any. A pair can carry several."
pair_sets = {name: rows for name, rows in pair_sets.items() if rows}
captions = images.dropna(subset="caption").set_index("image_id")["caption"].to_dict()
shares = {}
for name, rows in pair_sets.items():
    found = [quality.flags(q, a, captions.get(image)) - ({"not_visual"} if kind == "literature" else set()) for image, q, a, kind in rows]
    counts = Counter(flag for flags in found for flag in flags) | Counter({"any": sum(map(bool, found))})
    shares[name] = {flag: counts[flag] / len(rows) for flag in (*quality.FLAGS, "any")}
    record.metrics |= {f"{name}_pairs": len(rows)} | {f"{name}_{flag}_percent": 100 * share for flag, share in shares[name].items()}
columns = {f"{name} ({len(pair_sets[name]):,})": {flag: f"{share:.1%}" for flag, share in table.items()} for name, table in shares.items()}
plots.table(pd.DataFrame(columns).rename_axis("flag").reset_index())

# %%
#| label: fig-flags
#| fig-cap: "Share of the pairs with each quality flag."
#| fig-alt: "Bars of the share of pairs that carry each quality flag, one colour a set of pairs."
figure = go.Figure([go.Bar(name=name, y=quality.FLAGS, x=[table[flag] for flag in quality.FLAGS], orientation="h") for name, table in shares.items()])
figure.update_xaxes(title="Share of pairs", tickformat=".1%", rangemode="tozero")
figure.update_yaxes(autorange="reversed")
most = {name: max(quality.FLAGS, key=table.get) for name, table in shares.items()}
plots.show(figure, alt="Most frequent flag: " + "; ".join(f"{name}: {flag} {shares[name][flag]:.1%}" for name, flag in most.items()) + ".")

# %%
removed = Counter(flag for part in pairs.values() for flags in part["flags"] for flag in flags if flag in removed_flags)
record.metrics |= {f"removed_{flag}": count for flag, count in removed.items()}
if data == "phantom":
    caught = {}
    for row in (row for part in raw_pairs.values() for row in part):
        for flag in row["flags"]:
            caught.setdefault(flag, row)
    text = "\n".join(f"- `{flag}`: **{row['question']}** {row['answer']}" for flag, row in sorted(caught.items()))
    text = f"One phantom pair for each flag that occurs:\n\n{text}" if caught else "No template pair on phantom data carries a flag."
else:
    text = "Examples are shown from phantom data only."
Markdown(text)

# %% [markdown]
# ## How many answers fit
#
# CLIP reads 77 tokens, two of which mark start and end; the notes' runs used 256 and 512. Counted with CLIP's own
# vocabulary, so the counts for other models differ by some per cent.

# %%
#| label: tbl-tokens
#| tbl-cap: "Share of answers that fit in a context of 76, 256 and 512 tokens, and the length of the longest."
tokenizer = Tokenizer()
rows = []
for name, pairs_of in pair_sets.items():
    lengths = pd.Series([len(tokenizer.encode(answer)) + 2 for _, _, answer, _ in pairs_of])
    fits = {size: float((lengths <= size).mean()) for size in (76, 256, 512)}
    record.metrics |= {f"{name}_answers_in_{size}_tokens_percent": 100 * share for size, share in fits.items()}
    rows.append((name, *(f"{share:.2%}" for share in fits.values()), int(lengths.max())))
plots.table(pd.DataFrame(rows, columns=["pairs", "76", "256", "512", "longest answer (tokens)"]))

# %% [markdown]
# ## Result
#
# The question data set is written as parquet with a dataset card in the Hugging Face format, as two configurations
# (`questions` and `images`, joined by `image_id`).

# %%
output = paths.artifacts(profile, CHAPTER) / "dataset"
export.write(output, dataset, kept, name=data, fingerprint=fingerprint, removed=removed)
if push_to_hub:
    print(export.push(output, push_to_hub))
Markdown(
    f"Written: {results.number(m['pairs_kept'])} pairs. Load them with "
    f"`datasets.load_dataset(\"{output.relative_to(paths.ROOT)}\", \"questions\")`."
)

# %% [markdown]
# ## Limits
#
# - No longitudinal data: each case stands for itself. Whether a finding has grown can't be asked.
# - Images come from the habits of those who made and chose them. Nothing here says how a model does elsewhere.
# - One slice stands for a volume. Montages and 3D reconstructions are marked, not taken apart.
# - Template questions are as varied as their templates. The flags are rules: they miss paraphrases and can be wrong.
# - The phantom data is a test bed with known truth. No result on it is a medical result.
#
# ## Run card

# %%
summary = record.save()
results.card(summary)
display(
    results.beside_record(
        summary,
        {
            "cases": "Cases",
            "images": "Images",
            "nulled_texts": "Placeholder texts set to null",
            "leaks_before": "Texts in two splits, before repair",
            "leaks_after": "Texts in two splits, after repair",
            "unseen_conditions": "Held-out cases with a diagnosis unseen in training",
            "pairs_made": "Pairs made",
            "pairs_kept": "Pairs kept",
        },
    )
)

# %% [markdown]
# ## What's next
#
# The chapters that train read the same sources; [chapter 03](03_fourm_pretraining.ipynb) mixes several by weight. Bring your own data by writing a folder in MedPix 2.0's layout and copying
# `params/medpix/01_data_preparation.yml`.
