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
#     runs:
#     - kernels/benchmarks
# ---

# %% [markdown]
# # Masking kernels
#
# **Question.** 4M [@mizrahi2023] learns every kind of data (*modality*) by masking: in each step it draws which tokens a model is
# given and which it is asked for. What does that drawing cost, how much faster is it for a whole batch at once, and what changes for
# longer inputs?

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to
shapes: str = "quick"  # quick: a few rounds of each shape, small training steps; full: 6 s each
gpu: bool = False  # measure on the GPU as well
studies: list[str] = []  # none in this chapter
seed: int = 0  # of the budgets that are drawn to be looked at

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# None. Timings are of random tokens, whose values do not matter; pictures are of phantom studies. On a machine with a GPU of
# compute capability 8.0 or higher: `medmm run --profile dsri --only 04_masking_kernels`.

# %%
#| code-summary: "Imports"
import subprocess
import sys

import pandas as pd
import plotly.graph_objects as go
import torch
from IPython.display import Markdown, display

import medmm_lib.data
from medmm_kernels import MaskSpec, Modality, mask_batch, token_budgets
from medmm_lib import masking, masking_page, paths, plots, results

CHAPTER = "04_masking_kernels"
if shapes not in ("quick", "full"):
    raise ValueError(f"shapes is {shapes!r}; expected quick or full")
if gpu and not torch.cuda.is_available():
    raise ValueError("gpu is True, but PyTorch finds no CUDA GPU here: set gpu to False, or run on a machine that has one")

# %%
#| code-summary: "Measure: the benchmarks check a shape before they time it, and write rows"
record = results.RunRecord(
    CHAPTER,
    parameters,
    data={
        "name": "random tokens",
        "fingerprint": medmm_lib.data.fingerprint("phantom"),
        "note": "timings are of random tokens with fixed seeds; the fingerprint is of the phantom studies in the pictures",
    },
)


def measure(device):
    """Rows of the benchmarks on a device, from a program of its own: they stop at the first wrong result."""
    file = paths.artifacts(profile, CHAPTER) / f"rows_{device}.csv"
    file.unlink(missing_ok=True)
    command = [sys.executable, str(paths.ROOT / "kernels" / "benchmarks" / "run.py"), "--rows", str(file), "--device", device]
    done = subprocess.run(command + ["--quick"] * (shapes == "quick"), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the benchmarks stopped on {device}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return pd.read_csv(file)


rows = measure("cpu")
gpu_rows = measure("cuda") if gpu else rows.head(0)
for name, table in (("rows", rows), ("gpu_rows", gpu_rows)):
    record.curves[name] = table.astype(object).where(table.notna(), None).to_dict("records")


def cost(operation, path, column="p50_us", table=rows, **shape):
    """The median time of the first row of an operation and path in µs; None where it was not measured."""
    found = table[(table["operation"] == operation) & (table["path"] == path)]
    for name, value in shape.items():
        found = found[found[name] == value]
    return None if found.empty else float(found[column].iloc[0])


def ratio(slow, fast):
    """How many times faster; None where either was not measured."""
    return None if slow is None or fast is None else slow / fast


# %%
#| code-summary: "The chapter's numbers"
MAIN = {"batch": 256, "budget": 256}
found = {}
for text in ("short", "long"):
    one_by_one = cost("masking uniform", "per sample", text=text, **MAIN)
    found[f"{text}_one_by_one_us"] = ratio(one_by_one, MAIN["batch"])
    for path in ("batched", "compiled"):
        us = cost("masking uniform", path, text=text, **MAIN)
        found |= {f"{text}_{path}_us": ratio(us, MAIN["batch"]), f"{text}_{path}_ratio": ratio(one_by_one, us)}
    for path in ("batched", "torch.compile", "fused"):
        found[f"gpu_{text}_{path.replace('.', '_')}_batch_us"] = cost("masking uniform", path, table=gpu_rows, text=text, **MAIN)
    tokenising = cost("tokenising", "per sample", text=text)
    found |= {
        f"{text}_tokenising_percent": 100 * tokenising / one_by_one,
        f"{text}_compiled_ratio_without_tokenising": ratio(one_by_one - tokenising, cost("masking uniform", "compiled", text=text, **MAIN)),
    }
found["cold_compiled_ratio"] = ratio(
    cost("masking uniform", "per sample", "cold_us", text="short", **MAIN), cost("masking uniform", "compiled", "cold_us", text="short", **MAIN)
)
found["embedding_ratio"] = ratio(*(cost("embedding width 384", path) for path in ("embed all, select", "embed selected")))
for length in (256, 1024, 2048):
    found[f"attention_{length}_ratio"] = ratio(*(cost("attention", path, length=length) for path in ("T×T mask", "by segments")))
found["attention_short_batch_ratio"] = ratio(*(cost("attention", path, length=256, batch=64) for path in ("T×T mask", "by segments")))
found["attention_2048_grouped_ratio"] = ratio(*(cost("attention 6/2 heads", path) for path in ("T×T mask", "by segments")))
found["attention_16384_s"] = ratio(cost("attention", "by segments", length=16384), 1e6)
found["peak_gib"] = float(rows["peak_gib"].max())
STEP, STEP_MASKING = "training step, width 128, 2 + 2 layers", "masking in the step, width 128, 2 + 2 layers"
for budget in (256, 2048):
    ways = {path: cost(STEP, path, budget=budget) for path in ("4M's way", "medmm_kernels")}
    found[f"step_{budget}_ratio"] = ratio(*ways.values())
    share = ratio(cost(STEP_MASKING, "4M's way", "cold_us", budget=budget), ways["4M's way"])
    found[f"step_{budget}_masking_percent"] = None if share is None else 100 * share
record.metrics |= {name: results.NOT_MEASURED if value is None else value for name, value in found.items()}


def n(name, digits=3):
    """A number of this run for prose."""
    value = found.get(name)
    return results.number(None if value is None else float(f"{value:.{digits}g}"))


def times(value):
    """A ratio for a table."""
    return "" if value is None else f"{significant(value)}\u00a0×"


def significant(value):
    """Three significant digits, thousands separated."""
    return f"{float(f'{value:.3g}'):,.10g}"


# %%
#| code-summary: "How full the encoder gets"
EIGHT = {f"image {k}": Modality("dense", 196, 0.5, 0.5 if k else 0.0) for k in range(6)} | {f"text {k}": Modality("sequence", 256, 0.5, 0.5) for k in range(2)}
held = torch.randint(1, 1000, (2000, 196), generator=torch.Generator().manual_seed(seed))
tokens = {name: held[:, :20] if name.startswith("text") else held for name in EIGHT}
for name, parity in (("default", False), ("parity", True)):
    spec = MaskSpec(EIGHT, 256, 256, first_sentinel=1000, sentinels=100, parity=parity)
    valid = mask_batch(tokens, {}, spec, seed=seed, sample_ids=torch.arange(len(held))).encoder.valid
    record.metrics[f"filled_{name}_percent"] = 100 * float(valid.double().mean())

# %%
#| echo: false
hardware = "; ".join(rows["device"].unique())
plots.box(f"""
- Masking 256 samples, 256 tokens each, with compiled loops on one core ({hardware}) is {n('short_compiled_ratio')} times faster than one by one in
  Python, {n('cold_compiled_ratio')} times with cold caches; with long texts {n('long_compiled_ratio')} times. Plain PyTorch for the whole batch is
  {n('short_batched_ratio')} times faster. Longer inputs shrink the lead.
- Embedding only what was chosen is {n('embedding_ratio')} times faster than embedding everything and choosing then. One layer's attention by
  segments, without a mask of all T×T pairs, is {n('attention_2048_ratio')} times faster at T = 2,048.
- Inside a whole training step of a small model on a CPU that makes {n('step_256_ratio')} times at 256 tokens, where masking was
  {n('step_256_masking_percent', 2)} % of the step, and {n('step_2048_ratio')} times at 2,048.
- 4M's way to hand out tokens leaves {100 - record.metrics['filled_parity_percent']:.0f} % of the encoder's places empty here; ours leaves {100 - record.metrics['filled_default_percent']:.1f} %.
""", "callout-tip", title="Takeaway")

# %% [markdown]
# ## Why masking costs
#
# For every sample, 4M draws how many tokens each kind of data may give and is asked for (the *token budget*), which places
# of an image these are, and which words of a text are cut out. The public code does it in Python, in the data loader, with
# more than a hundred small tensor operations a sample. None of them takes long. But each is dispatched on its own, for each
# modality, for each sample, so that at usual lengths the cost hardly depends on how many tokens are drawn.
#
# The notes behind this report found that "none of the sampling operations are fused" and saw a research gap in it. So we
# wrote down what masking does, first as loops that anyone can read, then in three fast versions. All four give the same
# masks, bit for bit, because every random number is a function of the seed, the sample's number and its place (a counter-based
# generator, Philox [@salmon2011]). A sample is also masked the same way in whatever batch, in whatever process, and after a
# restart. (The GPU version has been compared in Triton's interpreter; whether it has run on a GPU is said below.)
#
# ## What 4M draws
#
# The paper describes this in words and figures. In text, runs of words are cut out and each run is replaced by one special token,
# a *sentinel* (*span corruption*). α sets how evenly tokens are shared among modalities. As NumPy-like pseudocode, for one sample:
#
# ```python
# def token_budgets(alpha, total, room):   # alpha, room: [M]
#     share  = dirichlet(alpha)
#     budget = floor(share * total)        # [M]
#     for _ in range(total - budget.sum()):  # what rounding left over
#         budget[argmax(dirichlet(alpha))] += 1
#     return minimum(budget, room)         # what does not fit is lost
#
# def mask_dense(tokens, n_in, n_tgt):     # image, label map: [L]
#     place = permutation(len(tokens))
#     given = sort(place[:n_in])
#     asked = sort(place[n_in:n_in + n_tgt])  # never what is given
#     return tokens[given], tokens[asked]
#
# def mask_text(tokens, n_in, n_tgt):      # span corruption
#     tokens = [*tokens, end][:max_tokens]
#     keep = uniform(0, 1) if n_in > 0 else 0
#     while True:
#         masked = uniform(0, 1, len(tokens)) > keep
#         given, asked, k = [], [], 0
#         for run in runs(masked):         # kept, masked, kept, ...
#             if run.masked:
#                 given += [sentinel[k]]
#                 asked += [sentinel[k], *tokens[run.places]]
#                 k += 1
#             else:
#                 given += [*tokens[run.places]]
#         asked += [sentinel[k]]
#         if n_in == 0:
#             given = []
#         if len(given) <= n_in:
#             break
#         keep *= 0.9                      # too long: draw again
#     if len(asked) > n_tgt:               # too long: a window that
#         asked = window(asked, n_tgt)     # starts at some sentinel
#     return given, asked
#
# def mask(sample):                        # M modalities
#     n_in  = token_budgets(alpha_in, randint(*N_in), max_tokens)
#     room  = where(dense, max_tokens - n_in, max_tokens)
#     n_tgt = token_budgets(alpha_tgt, randint(*N_tgt), room)
#     parts = [mask_dense(*x) if is_dense else mask_text(*x)
#              for x in zip(sample, n_in, n_tgt)]
#     encoder = concatenate([given for given, asked in parts])
#     decoder = [asked if is_dense else (asked[:-1], asked[1:])
#                for given, asked in parts]  # text: read, predict next
#     return encoder, concatenate(decoder)
# ```
#
# and what the encoder and the decoder do with it:
#
# ```python
# def embed(row):
#     # position: place of an image token; in text, tokens kept before
#     return (token[row.ids] + position[row.position]
#             + modality[row.modality])
#
# def loss(encoder, decoder):
#     x = embed(encoder)                   # [N_in, width]
#     for layer in encoder_layers:
#         x = mlp(attention(x, x, x))
#     q = embed(decoder)                   # [N_tgt, width]; ids of
#                                          # images: a mask token
#     for layer in decoder_layers:
#         # query i sees key j of its own modality; text: up to itself
#         q = attention(q, q, q, visible=start[i] <= j < end[i])
#         q = attention(q, x, x)           # all that was given
#         q = mlp(q)
#     losses = []
#     for m in modalities:
#         mine = decoder.modality == m
#         logits = q[mine] @ vocabulary[m]
#         losses += [cross_entropy(logits, decoder.targets[mine])]
#     return mean(losses)                  # a missing modality: 0
# ```
#
# Left out: α comes from a mixture whose component is drawn per sample, blocks have residual connections and norms, and the
# decoder's order of modalities is shuffled in every batch.
#
# In the decoder, queries of one modality stand side by side: a *segment*. So two numbers per query, start and end, say all that a
# mask of all T×T pairs of T queries says:

# %%
#| label: fig-visible
#| fig-cap: "Which of a sample's 64 queries (rows) may attend to which (columns): patches of a label map to all of them, words to themselves and what came before."
#| fig-alt: "A square of queries by queries with two dark blocks on the diagonal: a triangle for the caption, a full square for the label map."
study = medmm_lib.data.examples()[5]
decoder = masking.mask(study, masking.specification(5.0), 1).decoder
start, end, place = decoder.start[0][:, None], decoder.end[0][:, None], torch.arange(decoder.start.shape[1])
visible = (place >= start) & (place < end)
names = ["caption", "image", "label map"]
figure = go.Figure(go.Heatmap(
    z=visible.int().tolist(), colorscale=[[0, "rgba(128, 128, 128, 0.1)"], [1, plots.PALETTE[0]]], showscale=False, xgap=1, ygap=1,
    customdata=[[names[m]] * len(place) for m in decoder.modality[0].tolist()], hovertemplate="query %{y} (%{customdata}), key %{x}<extra></extra>",
))
figure.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain", title="Query")
figure.update_xaxes(constrain="domain", title="Key")
words = int((decoder.modality[0] == 0).sum())
plots.show(figure, alt=f"The first {words} queries are words and see what came before; the other {len(place) - words} are patches and see each other. {float(visible.double().mean()):.0%} of the pairs count.")

# %% [markdown]
# Three things in the public code cost more than they need to, whatever draws the masks: text is tokenised again for every
# sample, all places are embedded before the few that were chosen are picked out, and the decoder gets a T×T mask although
# two numbers per query say the same.
#
# ## A masked batch
#
# Four phantom studies with three modalities: patches of the image (input only), patches of the label map (a colour for each organ;
# the lesion is orange), and the words of the caption. The plain, pale patches are not there. ⟨0⟩, ⟨1⟩, … are sentinels. A target
# that exceeds its budget is cut to a window, so some words are neither given nor asked for.

# %%
#| label: fig-batch
#| fig-cap: "Four studies as one masked batch: 96 tokens given and 64 asked for, α = 1."
#| fig-alt: "Rows of three panels: the patches of the image and of the label map that are given, and those of the label map that are asked for."
examples = medmm_lib.data.examples()
shown = [examples[k] for k in range(0, len(examples), len(examples) // 4)][:4]
masked = [masking.mask(row, masking.specification(), k) for k, row in enumerate(shown)]
plots.show(
    masking.figure({f"study {k + 1}": masking.panels(row, m) for k, (row, m) in enumerate(zip(shown, masked, strict=True))}),
    alt="Budgets differ from study to study: "
    + "; ".join(f"study {k + 1} gives {int((m.encoder.modality == 1).sum())} image and {int((m.encoder.modality == 2).sum())} label-map patches" for k, m in enumerate(masked))
    + ".",
)

# %%
#| label: tbl-texts
#| tbl-cap: "The captions of the same four studies, as given and as asked for."
texts = [masking.texts(row, m) for row, m in zip(shown, masked, strict=True)]
plots.table(pd.DataFrame([(f"study {k + 1}", *pair) for k, pair in enumerate(texts)], columns=["", "given", "asked for"]))

# %% [markdown]
# Draw other masks of the second study: change the budgets, α and the strategy. Here the image can be asked for as well. A strategy is
# another way to draw: *block-wise* picks patches side by side, *cosine* draws totals and how much of a text is kept with more weight on
# few, *weighted* prefers tissue to background, and in a *curriculum* what is given grows with training. The *budget* is what the
# Dirichlet distribution hands out; *used* is what is left of it once the caption is cut, when pictures get what the caption did not
# need. Counts of the caption include sentinels.

# %%
masking_page.page(shown[1])

# %% [markdown]
# The same seed and sample give the same tokens here as in Python; a test compares the two in a browser. In JupyterLab, not on this
# page, a widget draws the studies' own patches.

# %% tags=["widget"]
masking.widget(examples)

# %% [markdown]
# The budgets come from a Dirichlet distribution. A small α gives a sample to one or two kinds of data, a large one shares
# evenly. A caption is short. Where it was meant to give all tokens, the rest of them come from the
# image or the label map: hence the peak there.

# %%
#| label: fig-alpha
#| fig-cap: "How many of 96 tokens the image gives, by α: three modalities, 5,000 draws each, in steps of 8 tokens."
#| fig-alt: "Lines of the share of draws by how many tokens the image gives, one line for each α."
alphas, draws = (0.2, 0.5, 1.0, 5.0), 5000
figure = go.Figure()
nothing = {}
for alpha in alphas:
    spec = masking.specification(alpha)
    room = torch.tensor([[20, 144, 144]]).expand(draws, -1)
    budget = token_budgets(spec, room, seed=seed, sample_ids=torch.arange(draws))[0][:, 1]
    nothing[alpha] = float((budget == 0).double().mean())
    share = torch.bincount(budget // 8, minlength=13)[:13].double() / draws
    figure.add_scatter(x=[8 * k + 4 for k in range(12)] + [96], y=share.tolist(), name=f"α = {alpha:g}", mode="lines+markers")
figure.update_xaxes(title="Tokens that the image gives")
figure.update_yaxes(title="Share of draws", tickformat=".0%", rangemode="tozero")
plots.show(
    figure,
    alt="At α = 5 the draws gather around a third of the tokens; the smaller α, the more of them lie at the ends. The image gives nothing in "
    + ", ".join(f"{share:.0%} of draws at α = {alpha:g}" for alpha, share in nothing.items()) + ".",
)

# %% [markdown]
# ## What is drawn differently here
#
# With `parity=True` the kernels draw what the public 4M code draws, to the statistics: means, variances and shares of empty
# budgets agree within sampling error over many thousands of samples (a test). By default they do better where the public code loses
# something: what a modality cannot use goes to those that can, missing data is no error, a text may need more sentinels than there are (they
# repeat), and a text that is too long keeps as much as fits on the first draw.

# %%
#| label: tbl-filled
#| tbl-cap: "Places of the encoder that hold a token: eight modalities, 256 places, texts of 20 tokens."
plots.table(pd.DataFrame(
    [("4M's budgets (parity)", f"{record.metrics['filled_parity_percent']:.1f} %"), ("default", f"{record.metrics['filled_default_percent']:.1f} %")],
    columns=["budgets", "filled"],
))

# %% [markdown]
# ## What masking costs
#
# Below, one sample at a time in Python is written with the steps of the public code; side by side on one machine, it takes
# as long as that. It includes turning text into tokens, as 4M does that anew for every sample and the kernels get tokens. *Batched* is plain PyTorch for the whole batch, *compiled* the default on a CPU (loops, compiled by Numba). Before a shape is timed, the first samples of each fast
# version are compared with the specification. Versions take turns, so noise meets all of them; times are medians, on one CPU core.

# %%
#| label: fig-cost
#| fig-cap: "Time to mask a sample in a batch of 256: eight modalities, 256 tokens given and 256 asked for. Medians; whiskers from 20 % to 80 % of calls; logarithmic axis."
#| fig-alt: "Bars of microseconds per sample for each way of masking, with short and with long texts."
NAMES = {"per sample": "one by one, Python", "batched": "batched, PyTorch", "compiled": "compiled, Numba"}
main = rows[(rows["operation"] == "masking uniform") & (rows["batch"] == 256)]
figure = go.Figure()
for text in ("short", "long"):
    part = main[main["text"] == text].set_index("path").reindex(list(NAMES))
    us = part["p50_us"] / 256
    figure.add_bar(
        name=f"{text} texts", x=us, y=[NAMES[path] for path in part.index], orientation="h", text=[f"\u00a0\u00a0\u00a0{significant(value)}" for value in us], textposition="outside", cliponaxis=False,
        error_x={"array": (part["p80_us"] - part["p50_us"]) / 256, "arrayminus": (part["p50_us"] - part["p20_us"]) / 256},
    )
figure.update_xaxes(type="log", title="µs per sample", range=[0, 3.7], dtick=1)
figure.update_yaxes(autorange="reversed")
plots.show(figure, alt="; ".join(f"{NAMES[row.path]}, {row.text} texts: {significant(row.p50_us / 256)} µs per sample" for row in main.itertuples()) + ".")

# %%
#| label: tbl-cost
#| tbl-cap: "The same in numbers: median time per sample, calls it is the median of, how many times faster than one by one, and the same ratio for the calls right after another version's, when caches are cold."
table = []
for row in main.itertuples():
    warm, cold = (ratio(cost("masking uniform", "per sample", column, text=row.text, **MAIN), getattr(row, column)) for column in ("p50_us", "cold_us"))
    table.append((NAMES[row.path], row.text, significant(row.p50_us / 256), f"{row.calls}", *(times(value) for value in (warm, cold))))
plots.table(pd.DataFrame(table, columns=["way", "texts", "µs per sample", "calls", "faster", "faster, cold"]))

# %% [markdown]
# ## Longer inputs
#
# One by one, the cost hardly grows with the number of tokens at first: it is the number of operations that costs. The fast
# versions' cost grows with the number of places, so their lead shrinks as inputs grow.

# %%
#| label: fig-length
#| fig-cap: "Time to mask a sample by the number of tokens given (as many are asked for), in batches of 256, 64, 16 and 4. The six dense modalities have 196, 784, 4,096 and 16,384 places each; texts stay short."
#| fig-alt: "Lines of microseconds per sample against the number of tokens, one for each way of masking, on logarithmic axes."
uniform = rows[(rows["operation"] == "masking uniform") & (rows["text"] == "short")]
figure, said = go.Figure(), []
for path, part in uniform.groupby("path", sort=False):
    part = part.sort_values("budget")
    figure.add_scatter(x=part["budget"], y=part["per_sample_us"], name=NAMES[path], mode="lines+markers")
    said.append(f"{NAMES[path]} from {significant(part['per_sample_us'].iloc[0])} to {significant(part['per_sample_us'].iloc[-1])} µs")
figure.update_xaxes(type="log", title="Tokens given per sample", tickvals=sorted(uniform["budget"].unique()), tickformat=",")
figure.update_yaxes(type="log", title="µs per sample")
plots.show(figure, alt="From 256 to 16,384 tokens: " + "; ".join(said) + ".")

# %%
#| echo: false
leads = {
    path: [ratio(cost("masking uniform", "per sample", text="short", budget=budget), cost("masking uniform", path, text="short", budget=budget)) for budget in (256, 1024, 4096, 16384)]
    for path in ("compiled", "batched")
}
Markdown("At 256, 1,024, 4,096 and 16,384 tokens " + "; ".join(f"{path} is {', '.join(significant(lead) for lead in found_leads)} times faster than one by one" for path, found_leads in leads.items()) + ".")

# %% [markdown]
# The decoder's self-attention is where length hurts. Queries of one modality see each other (text only what came before), so the
# T×T mask is a few segments on the diagonal. PyTorch attends to each segment by itself:

# %%
#| label: fig-attention
#| fig-cap: "Time of the decoder's self-attention, forward and backward, of one layer, per sample (batches of 1; of 4 at 2,048): eight segments of equal length, six heads of width 64."
#| fig-alt: "Lines of milliseconds against the number of queries, with a T×T mask and by segments, on logarithmic axes."
attention = rows[(rows["operation"] == "attention") & (rows["batch"] <= 4)].assign(ms=lambda frame: frame["per_sample_us"] / 1000)
figure = go.Figure()
for path, part in attention.groupby("path", sort=False):
    part = part.sort_values("length")
    figure.add_scatter(x=part["length"], y=part["ms"], name=path, mode="lines+markers")
figure.update_xaxes(type="log", title="Queries T", tickvals=sorted(attention["length"].unique()), tickformat=",")
figure.update_yaxes(type="log", title="ms per sample")
plots.show(figure, alt="; ".join(f"T = {row.length:,.0f} {row.path}: {row.ms:.3g} ms" for row in attention.itertuples()) + ".")

# %%
#| echo: false
Markdown(
    f"By segments it is {n('attention_256_ratio')} times faster at 256 queries, {n('attention_1024_ratio')} times at 1,024 and {n('attention_2048_ratio')} times at 2,048 "
    f"({n('attention_2048_grouped_ratio')} times with six query heads on two key heads), with the same output and gradients. A T×T mask for 16,384 "
    f"queries was not tried; by segments they take {n('attention_16384_s')} s. The benchmarks, a process of their own, needed at most {n('peak_gib')} GiB of memory."
)

# %% [markdown]
# ## Other ways to choose
#
# 4M picks places independently of each other. Neighbouring patches are alike, so a model can often copy what it is asked for. Other
# strategies, behind `MaskSpec.strategy`: *blockwise* picks contiguous blocks [@bao2022; @assran2023], *cosine* draws how much is
# given by MaskGIT's schedule [@chang2022], *weighted* prefers tissue over background by given weights
# [@efraimidis2006], and the *curriculum* starts with few given tokens and ends with the full budget. Which of them a model learns more from is a question for the
# chapter that trains; here they are shown and timed.

# %%
#| label: fig-strategies
#| fig-cap: "One study masked in five ways. 96 tokens are given, unless the strategy draws fewer."
#| fig-alt: "Rows of three panels, one row a strategy: patches given and asked for."
study = shown[1]
variants = {
    "uniform": masking.specification(),
    "blockwise": masking.specification(strategy="blockwise", block=3),
    "cosine": masking.specification(inputs=(16, 96), strategy="cosine"),
    "weighted": masking.specification(strategy="weighted"),
    "curriculum,<br>start": masking.specification(strategy="curriculum", first_input_tokens=24, progress=0.0),
}
drawn = {name: masking.mask(study, spec, 2) for name, spec in variants.items()}
plots.show(
    masking.figure({f"{name}<br>{int(m.encoder.valid.sum())} given": masking.panels(study, m) for name, m in drawn.items()}),
    alt="; ".join(f"{name.replace('<br>', ' ')}: {int(m.encoder.valid.sum())} tokens given" for name, m in drawn.items()) + ".",
)

# %%
#| label: tbl-strategies
#| tbl-cap: "Time to mask a sample with each strategy (batch of 256, 256 tokens, short texts), and how many times faster than 4M's uniform masking one by one in the same minute."
table = []
for operation, part in rows[rows["operation"].str.startswith("masking ") & (rows["batch"] == 256) & (rows["text"] == "short")].groupby("operation", sort=False):
    is_base = part["path"].str.startswith("per sample")
    base = float(part[is_base]["p50_us"].iloc[0])
    for row in part[~is_base].itertuples():
        faster = ratio(base, row.p50_us)
        table.append((operation.removeprefix("masking ").replace(" parity", ", parity"), NAMES[row.path], significant(row.per_sample_us), times(faster)))
plots.table(pd.DataFrame(table, columns=["strategy", "way", "µs per sample", "faster"]))

# %% [markdown]
# ## Embedding only what was chosen
#
# 4M's model embeds every place of every modality, sorts the places by whether they were chosen, and moves the embeddings of
# those to the front. The kernels hand out what was chosen, so only that is looked up. Same output, checked:

# %%
#| label: tbl-embedding
#| tbl-cap: "The encoder's embedding, forward: 64 samples, 256 tokens of 2,204 places, width 384."
embedding = {path: cost("embedding width 384", path) for path in ("embed all, select", "embed selected")}
plots.table(pd.DataFrame([(path, significant(us / 1000), times(ratio(embedding["embed all, select"], us))) for path, us in embedding.items()], columns=["way", "ms", "faster"]))

# %% [markdown]
# ## What it is worth inside a training step
#
# A small encoder–decoder is trained on the same tokens in two ways with the same weights. *4M's way* masks one by one,
# embeds all places, selects by a sort and gives the decoder a T×T mask. The other masks the batch, embeds what was chosen and
# attends by segments. On the same masks both give the same loss, which is checked before anything is timed.

# %%
#| label: tbl-step
#| tbl-cap: "A training step (masking, forward, backward, optimiser), two ways: median times, the masking alone (with cold caches), its share, and how many times faster the step is."
table = []
for row in rows[rows["operation"] == STEP].itertuples():
    shape = {"batch": row.batch, "budget": row.budget}
    alone = cost(STEP_MASKING, row.path, "cold_us", **shape)
    faster = ratio(cost(STEP, "4M's way", **shape), row.p50_us)
    table.append((f"{row.batch:.0f} × {row.budget:,.0f}", row.path, significant(row.p50_us / 1000), significant(alone / 1000), f"{alone / row.p50_us:.2%}", times(faster)))
plots.table(pd.DataFrame(table, columns=["samples × tokens", "way", "step, ms", "masking, ms", "share", "faster"]))

# %% [markdown]
# Masking itself is a small part of a step on a CPU: nearly all of the gain comes from embedding less and from the smaller
# attention. A GPU takes many more samples a second, each of which must have been masked by then.

# %%
#| label: tbl-workers
#| tbl-cap: "CPU cores that masking keeps busy, if a GPU consumes so many samples a second: the time per sample of this run, with cold caches, times the rate."
rates = (100, 1000, 5000, 20000)
per_sample = {path: cost("masking uniform", path, "cold_us", text="short", **MAIN) for path in ("per sample", "batched", "compiled")}
table = [
    (NAMES[path], *(f"{us / 256 * 1e-6 * rate:.2g}" for rate in rates)) for path, us in per_sample.items()
]
plots.table(pd.DataFrame(table, columns=["way", *(f"{rate:,} per second" for rate in rates)]))

# %% [markdown]
# ## On a GPU

# %%
#| code-summary: "GPU rows: of this run, and of results of record"
tables = {"this run": record.curves["gpu_rows"]}
tables |= {f"of record ({name})": old["curves"].get("gpu_rows", []) for name, old in results.of_record(CHAPTER).items()}
tables = {source: table for source, table in tables.items() if table}
for source, table in tables.items():
    table = pd.DataFrame(table)
    display(Markdown(f"On {table['device'].iloc[0]}, {source}; the ratio is to the fused kernel at the same shape:"))
    shown_rows = []
    for row in table[table["operation"].str.startswith("masking")].itertuples():
        fused = cost(row.operation, "fused", table=table, batch=row.batch, budget=row.budget, text=row.text)
        shown_rows.append((row.operation, f"{row.batch:.0f} × {row.budget:,.0f}", row.text, row.path, significant(row.p50_us), f"{row.kernels:.0f}", times(ratio(row.p50_us, fused))))
    display(plots.table(pd.DataFrame(shown_rows, columns=["operation", "batch × tokens", "texts", "way", "µs a batch", "kernels launched", "slower"])))
if not tables:
    display(Markdown(
        "No GPU figure has been measured yet. The Triton kernel gives the same masks as the specification in Triton's interpreter, which "
        "says nothing about its speed. A run with `medmm run --profile dsri --only 04_masking_kernels` on a machine with a GPU of compute "
        "capability 8.0 or higher fills this section."
    ))

# %% [markdown]
# ## Limits

# %%
#| echo: false
Markdown(f"""
- **What the comparison is.** One by one is our own rewrite of the public code's steps, not the public code itself. It ran beside the public code on
  one machine and took as long ([journal](../journal/2026-11-22-masking-paths.qmd)). It does not use several processes, as a data loader can.
- **Tokenising.** It is {n('short_tokenising_percent', 2)} % of one by one with short texts and {n('long_tokenising_percent', 2)} % with long ones. Without it the compiled version would be
  {n('short_compiled_ratio_without_tokenising')} and {n('long_compiled_ratio_without_tokenising')} times faster.
- **Cold caches.** Right after other work the compiled version is {n('cold_compiled_ratio')} times faster than one by one, not {n('short_compiled_ratio')}. A training loop,
  which masks once a step, sees the cold figure.
- **Short inputs.** Every segment is a call of its own. For 64 samples of 256 queries, attention by segments is {n('attention_short_batch_ratio', 2)} times faster than
  with a T×T mask; below 1 the mask is the better choice.
- **Equal segments.** Attention was timed with eight segments of equal length. With unequal budgets one segment holds more of the pairs, and the gain is smaller.
- **Small model.** The training step is that of a model with two encoder and two decoder layers of width 128. A larger one spends more of a step
  in its matrices, so masking and embedding matter less.
- **Few calls.** In quick runs slow versions are called three times; the table of costs says how often.
- **Noise.** Timings on shared machines vary from run to run. Ratios within one run vary less; a result of record, where there is one, stands beside this run below.
- **Not a result about learning.** Nothing here says which strategy or which α trains a better model.
""")

# %% [markdown]
# ## Run card

# %%
#| code-summary: "Save the results and show what this run was"
summary = record.save()
results.card(summary)
display(results.beside_record(summary, {
    "short_one_by_one_us": "One by one, short texts, µs per sample",
    "short_compiled_ratio": "Compiled, short texts, times faster",
    "long_compiled_ratio": "Compiled, long texts, times faster",
    "short_batched_ratio": "Batched, short texts, times faster",
    "long_batched_ratio": "Batched, long texts, times faster",
    "embedding_ratio": "Embedding only the selected, times faster",
    "attention_2048_ratio": "Attention by segments at 2,048, times faster",
    "step_256_ratio": "Training step at 256 tokens, times faster",
    "step_2048_ratio": "Training step at 2,048 tokens, times faster",
    "filled_default_percent": "Encoder places filled, %",
}))

# %% [markdown]
# ## What's next
#
# [Chapter 03](03_fourm_pretraining.ipynb) trains with these masks and compares the strategies by what a model learns. [Chapter 05](05_contrastive_pretraining.ipynb) turns to
# encoders that learn from reports. The kernels can be used on their own: see `kernels/README.md` for their interface, their maths and how they differ from the public code.
