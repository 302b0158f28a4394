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
# One loader reads MedPix 2.0 [@siragusa2024] and the embedded phantom data into one schema. This chapter shows what is
# in the data, splits it by patient, audits the split, writes question/answer pairs and says which of them it removes and why.

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to
data: str = "phantom"  # phantom, medpix
data_root: str = ""  # folder of MedPix 2.0; empty: the folder that MEDMM_DATA names
split: str = "official"  # official, stratified
validation_cases: int = 25  # of the stratified split
test_cases: int = 25  # of the stratified split
removed_flags: list[str] = ["volumetric", "measurement", "history", "long_answer", "answer_given_away", "filler", "not_visual"]  # quality flags whose pairs are left out
llm_questions: str = ""  # folder with questions that a language model wrote; empty: none. Relative to data_root
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
# None: the phantom data is made on the spot. For MedPix 2.0, download it from its repository and set `MEDMM_DATA` to its
# folder; then `medmm run --profile medpix --only 01_data_preparation`.

# %%
#| code-summary: "Imports"
import inspect
import json
import os
from collections import Counter
from pathlib import Path

import datasets
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from instant_clip_tokenizer import Tokenizer
from IPython.display import HTML, Markdown, display

import medmm_lib.data
from medmm_lib import paths, plots, results
from medmm_lib.data import browse, export, llm_text, medpix, quality, questions, schema, splits

datasets.disable_progress_bars()
CHAPTER = "01_data_preparation"

# %%
#| code-summary: "Read the data and split it"
folder = medmm_lib.data.folder(data, data_root or None)
loaded = medpix.read(folder)
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
raw_pairs = questions.make(dataset)
pairs, moved = questions.keep_shared_topics_in_training(raw_pairs)
kept = questions.without_flags(pairs, removed_flags)

before = splits.leakage_counts(resplit(medpix.read(folder, raw=True).dataset)) | {"topic text": splits.leakage_counts(raw_pairs)["topic text"]}
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
- {unseen} of {held_out} validation and test cases have a diagnosis that no training case has.
- Templates make {results.number(m['pairs_made'])} question/answer pairs; {results.number(m['pairs_kept'])} pass the quality flags.{phantom_note}
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
counts = images.fillna({"location_category": "not given"}).groupby(["location_category", "modality"]).size().reset_index(name="images")
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
    alt=f"Ages from {patients['age'].min():.0f} to {patients['age'].max():.0f} years, median {patients['age'].median():.0f}; "
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
    + ", ".join(f"{name} {count:,}" for name, count in planes.items())
    + f". {m['not_one_plane']} images are montages, 3D reconstructions, photographs or drawings and are marked as such."
)

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
lines = [f"- `{skip.record}` in `{skip.file}`: {skip.reason}" for skip in report.skipped]
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
# ## Questions that a language model wrote
#
# The parser reads `Q:`/`A:` text as Llama-style models write it, with numbers, bold marks and filler around it.

# %%
written = """Here are the question-answer pairs:

**Q1:** Which side is the mass on?
A: Left

Q: How large is the mass?
A: 3 x 2 cm

Let me know if you'd like me to generate more!"""
example = llm_text.parse(written)
Markdown("Found: " + "; ".join(f"“{q}” → “{a}”" for q, a in example.pairs) + ". Left over: " + "; ".join(f"“{line}”" for line in example.left_over) + ".")

# %%
pair_sets = {"templates": [(row["image_id"], row["question"], row["answer"], row["kind"]) for part in pairs.values() for row in part]}
llm_folder = Path(data_root or os.environ.get("MEDMM_DATA", ".")).expanduser() / llm_questions
if llm_questions and not llm_folder.is_dir():
    display(Markdown(f"There is no folder `{llm_questions}` beside the data: no questions of a language model were read."))
for path in sorted(llm_folder.glob("*.json")) if llm_questions else []:
    texts = json.loads(path.read_text(encoding="utf-8"))
    read_texts = [(text["image_id"], llm_text.parse(text["qa_pairs"])) for text in texts]
    pair_sets[path.stem] = [(image, q, a, "image") for image, found in read_texts for q, a in found.pairs]
    record.metrics |= {"llm_texts": len(texts), "llm_texts_without_pairs": sum(not found.pairs for _, found in read_texts)}
for path in sorted(llm_folder.glob("*.csv")) if llm_questions else []:
    table = pd.read_csv(path, keep_default_na=False)
    names = table["image_id"].map(lambda name: Path(name).stem)
    pair_sets[path.stem] = list(zip(names, table["question"], table["answer"], ["image"] * len(table), strict=True))
if "llm_texts" in record.metrics:
    display(Markdown(
        f"Read {results.number(m['llm_texts'])} texts of a language model; the parser found no pair in {m['llm_texts_without_pairs']} of them. "
        "Files of pairs were read as they are: each pair names an image, but many ask about the case or its literature."
    ))

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
# ## Controls and limits
#
# - No longitudinal data: a patient has one case. Whether a finding has grown can't be asked.
# - The images come from the habits of a few hospitals. Nothing here says how a model does elsewhere.
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
# The chapters that train read this data set. Bring your own data by writing a folder in MedPix 2.0's layout and copying
# `params/medpix/01_data_preparation.yml`.
