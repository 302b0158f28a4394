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
# ---

# %% [markdown]
# # From 2,050 images to 15 million
#
# **Question.** MedPix 2.0 has 2,050 images [@siragusa2024], PMC-15M has 15 million [@zhang2023biomedclip]. What has to change in data preparation, tokenising and
# training on the way from one to the other, and what does each step cost?

# %% tags=["parameters"]
#| code-summary: "Parameters and their defaults"
profile: str = "quick"  # which parameter file this run belongs to
data: list[str] = ["phantom", "phantom_films"]  # data sets that are written into shards; none: phantom patients, drawn as they are written
data_root: str = ""  # folder of medpix; empty: MEDMM_DATA
patients: int = 600  # that are drawn, where data names none
films: bool = True  # they are examined with chest films only, which are drawn twice as fast
processes: int = 2  # that draw, each into shards of its own
per_shard: int = 200  # images a shard
side: int = 64  # of an image as models take it, pixels; drawn patients have images of this size
patch: int = 8  # pixels along the side of a token
codes: int = 512  # of the image tokeniser
vocabulary_size: int = 1000  # of the text tokeniser
longest_text: int = 64  # tokens
tokeniser_images: int = 400  # first images of the stream, which both tokenisers are trained on
tokeniser_steps: int = 10  # of the image tokeniser: enough to measure its speed, too few for good codes
batch_size: int = 64  # images a step
learning_rate: float = 3.0e-3  # of the masked autoencoder, peak
train_images: int = 960  # of the stream that it is trained on, each once
buffer: int = 200  # images that are held to shuffle the stream for training
kept_images: int = 1000  # that the control keeps in memory
kept_side: int = 224  # of these, as ViT-B/16 takes them, pixels
large_side: int = 512  # of a few pictures that are drawn to see what larger ones cost, pixels
large_patients: int = 1  # whose pictures these are
cores: int = 16  # that plans reckon with
euros_per_core_hour: float = 0.05  # assumed price
gpu: str = "H100 SXM 80 GB"  # that plans reckon with
mfu: float = 0.35  # share of its peak that a training is assumed to reach
euros_per_hour: float = 3.0  # assumed price of the GPU
euros_per_tb_month: float = 20.0  # assumed price of keeping 10¹² bytes for a month
weights: float = 8.6e7  # of the image encoder that plans train: ViT-B/16
image_tokens: int = 197  # that it makes of an image of 224 × 224 pixels
epochs: int = 8  # times that plans train on each image
seed: int = 0  # of phantom patients, first weights, masks and shuffling

# %%
#| code-summary: "Check the parameters"
from medmm_lib.parameters import read

parameters = read(globals())

# %% [markdown]
# ## Prerequisites
#
# None for phantom images. For MedPix 2.0, its folder in `MEDMM_DATA`.

# %%
#| code-summary: "Imports"
import struct
import zlib
from itertools import islice
from textwrap import wrap

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from IPython.display import Markdown, display
from PIL import Image

import medmm_lib.data
from medmm_lib import paths, plots, results, sources
from medmm_lib.contrastive.fitting import Schedule
from medmm_lib.contrastive.mae import MAE, MAEShape
from medmm_lib.contrastive.streamed import fit_streamed
from medmm_lib.data import growth, shards, streams
from medmm_lib.data.growth import Meter, growth_mib
from medmm_lib.data.phantom.patients import draw_patient
from medmm_lib.fourm import vq
from medmm_lib.fourm.modalities import grey
from medmm_lib.fourm.text import TextTokeniser
from medmm_lib.fourm.tokens import Tokenisers
from medmm_lib.fourm.vq import VQShape, VQTokeniser
from medmm_lib.scaling.compute import gpus
from medmm_lib.scaling.costs import Costs
from medmm_lib.scaling.explore import short
from medmm_lib.scaling.planner import Machine

CHAPTER = "09_scaling_up"
FOLDER = paths.artifacts(profile, CHAPTER)
POINTS = 60  # of a memory curve
STAGES = {"draw": "draw a phantom image", "write": "write it into a shard", "read": "read it and decode it", "tokenise": "tokenise picture and caption", "train": "train on it once, reading included"}
if gpu not in gpus():
    raise ValueError(f"gpu is {gpu!r}; expected one of {', '.join(gpus())}")

# %%
#| code-summary: "Write shards"
making = [path.read_text(encoding="utf-8") for path in sources.library_files("import medmm_lib.data.growth") if path.parent.name == "phantom" or path.stem in ("shards", "growth")]
fingerprints = [medmm_lib.data.fingerprint(name, data_root or None) for name in data]
drawing = {"patients": patients, "processes": processes, "size": side, "seed": seed, "films": films}
place = FOLDER / f"shards-{sources.json_hash([making, fingerprints or drawing, per_shard])}"
if data:
    written = [growth.write_measured(place / name, growth.kept(medmm_lib.data.load(name, data_root or None)), per_shard, per_shard) for name in data]
else:
    written = growth.write_phantom(place, per_shard=per_shard, every=per_shard, **drawing)
stored = [shard for folder in sorted(path.parent for path in place.glob(f"*/{shards.INDEX}")) for shard in shards.index(folder)]
images, every = sum(shard.count for shard in stored), max(1, sum(shard.count for shard in stored) // POINTS)
name = " + ".join(data) or f"phantom {'films' if films else 'studies'}, {patients:,} patients"
record = results.RunRecord(CHAPTER, parameters, data={"name": name, "fingerprint": sources.json_hash([shard.sha256 for shard in stored])})
record.metrics |= {"images_streamed": images, "images_drawn": 0 if data else images, "shards": len(stored), "bytes_per_image": sum(shard.bytes for shard in stored) / images}
record.curves |= {f"write {part}": curve for part, curve in enumerate(written)}


# %%
#| code-summary: "Helpers"
def streamed(faults, part=0, parts=1):
    """The decoded rows of all shards."""
    return streams.decoded(streams.stream(stored, part=part, parts=parts), faults)


def per_core(curve, seconds):
    """Images a core-second, over a whole curve. `seconds` takes its last entry."""
    return curve[-1]["images"] / seconds(curve[-1])


def spent(one):
    """Core-seconds beyond those of the stream itself."""
    return one["core_seconds"] - one["source_core_seconds"]


def lasting(hours):
    """Hours in the largest unit that gives 1 or more."""
    unit, of_an_hour = next(((unit, many) for unit, many in (("days", 1 / 24), ("h", 1), ("min", 60), ("s", 3600)) if hours * many >= 1), ("ms", 3.6e6))
    return f"{short(hours * of_an_hour)} {unit}"


def signed(mib):
    """Growth in MiB, with its sign."""
    return f"{round(mib, 1) + 0.0:+.1f}"


last = [curve[-1] for curve in written]
count = sum(one["images"] for one in last)
record.metrics["write_images_per_s_core"] = count / sum(map(spent, last))
if not data:
    record.metrics |= {"draw_images_per_s_core": count / sum(one["source_core_seconds"] for one in last), "draw_write_images_per_s": count / max(one["seconds"] for one in last)}

# %%
#| code-summary: "Check the shards, then read and decode everything once"
broken = shards.damaged(stored)
if broken:
    raise ValueError(f"damaged shards: {broken}; remove {place} and run again")
faults, meter = streams.Faults(), Meter(every)
total, squares = np.zeros((side, side)), np.zeros((side, side))
for row in meter.watch(streamed(faults)):
    pixels = grey(row, side).astype(float)
    total += pixels
    squares += pixels**2
spread = float((squares / images - (total / images) ** 2).mean() * 4 / 255**2)  # of pixels in −1 to 1 around the mean image
record.curves["read"] = meter.curve
record.metrics |= {"read_images_per_s_core": per_core(meter.curve, lambda one: one["core_seconds"]), "skipped": faults.count, "rss_growth_mib": meter.growth_mib, "mean_image_error": spread}

# %%
#| code-summary: "Train the tokenisers on the beginning, then tokenise everything once"
torch.set_num_threads(1)  # rates are those of one core, here and below
begin = list(islice(streamed(faults), tokeniser_images))
text = TextTokeniser.train((row["caption"] for row in begin if row["caption"]), vocabulary_size)
torch.manual_seed(seed)
picture = VQTokeniser(VQShape(side=side, patch=patch, codes=codes))
vq.train(picture, torch.from_numpy(np.stack([grey(row, side) for row in begin])), FOLDER / "vq", steps=tokeniser_steps, seed=seed)
tokenisers = Tokenisers(["image", "caption"], text, {"image": picture}, side=side, patch=patch, most={"caption": longest_text})
meter, tokens = Meter(every), 0
passing = meter.watch(streamed(faults))
while some := list(islice(passing, batch_size)):
    made = tokenisers.encode(some)
    tokens += sum(int(lengths.sum()) for lengths in made.lengths.values())
record.curves["tokenise"] = meter.curve
record.metrics |= {"tokenise_images_per_s_core": per_core(meter.curve, spent), "tokens_per_image": tokens / images, "token_bytes_per_image": 2 * tokens / images, "tokenise_growth_mib": meter.growth_mib}

# %%
#| code-summary: "Train a small masked autoencoder from the stream"
torch.manual_seed(seed)
meter, shuffled = Meter(every), streams.stream(stored).shuffle(seed=seed, buffer_size=buffer)
steps = min(train_images, images) // batch_size
mae = MAE(MAEShape(side=side, patch=patch))
fitted = fit_streamed(mae, lambda: meter.watch(grey(row, side) for row in streams.decoded(shuffled, faults)), Schedule(steps, batch_size, learning_rate, seed), FOLDER / "mae")
begun, end = meter.curve[0], meter.curve[-1]  # without what the first step sets up
record.curves |= {"train": meter.curve, "losses": fitted.losses}
record.metrics |= {
    "train_images_per_s": (end["images"] - begun["images"]) / (end["seconds"] - begun["seconds"]), "train_images_per_s_core": (end["images"] - begun["images"]) / (end["core_seconds"] - begun["core_seconds"]), "train_growth_mib": meter.growth_mib,
    "train_reading_percent": 100 * (end["source_core_seconds"] - begun["source_core_seconds"]) / (end["core_seconds"] - begun["core_seconds"]), "train_steps": steps, "loss": fitted.losses[-1]["loss"], "mae_weights": sum(one.numel() for one in mae.parameters()),
}

# %%
#| code-summary: "The control: images kept in memory, as ViT-B/16 takes them"
meter, kept = Meter(max(1, min(images, kept_images) // POINTS)), []
for row in meter.watch(islice(streamed(faults), kept_images)):
    kept.append(grey(row, kept_side).astype(np.float32))
record.curves["kept"] = meter.curve
record.metrics |= {"kept_images": len(kept), "kept_growth_mib": meter.growth_mib, "kept_bytes_per_image": 4 * kept_side**2, "rss_peak_mib": meter.curve[-1]["peak_mib"]}
del kept

# %%
#| code-summary: "What larger pictures cost"
large = [Image.fromarray(view.picture.pixels) for number in range(large_patients) for view in draw_patient(10**6 + number, large_side, seed, True).views]
some = [row["image"] for row in begin[:: max(1, len(begin) // 50)]]  # of those that were streamed
width = int(np.median([row["image"].width for row in begin]))
costs = [cost for some in (some, large) for cost in growth.picture_costs(some, lambda row: grey(row, side))]
record.curves["pictures"] = costs
beyond = max(0.0, 1 / record.metrics["read_images_per_s_core"] - costs[0]["read_ms"] / 1000)  # of reading, that is not for the picture: the archive, the text
record.metrics |= {"streamed_width": width} | {f"large_{cost['format'].lower()}_{key}": value for cost in costs[2:] for key, value in cost.items() if key not in ("size", "format")}

# %%
#| echo: false
published = pd.read_csv(paths.REPORT / "published.csv").set_index("what")["value"]
collections = {"MedPix 2.0": published["MedPix 2.0: CT and MR images"], "ROCOv2": published["ROCOv2: images"], "PMC-OA": published["PMC-OA: image-caption pairs, about"], "PMC-15M": published["PMC-15M: image-caption pairs, about"]}
ends = record.metrics
machine = Machine(gpus()[gpu].fastest[1], mfu, euros_per_hour, gpus()[gpu].memory_gb)
small_costs, large_costs = (
    Costs(write, reading, 1 / ends["tokenise_images_per_s_core"], 6 * weights * image_tokens, size, ends["token_bytes_per_image"], euros_per_core_hour, euros_per_tb_month)
    for write, reading, size in (
        (1 / ends["write_images_per_s_core"], 1 / ends["read_images_per_s_core"], ends["bytes_per_image"]),
        # The picture is encoded once; what the archive and the text take is as for the small one.
        (1 / ends["write_images_per_s_core"] + costs[3]["write_ms"] / 1000, beyond + costs[3]["read_ms"] / 1000, ends["bytes_per_image"] - costs[0]["bytes"] + costs[3]["bytes"]),
    )
)
bills = {f"{width} px, as streamed": {title: small_costs.bill(many, machine, cores=cores, epochs=epochs) for title, many in collections.items()}, f"{large_side} px JPEG": {title: large_costs.bill(many, machine, cores=cores, epochs=epochs) for title, many in collections.items()}}
most, most_large = (bill["PMC-15M"] for bill in bills.values())
record.metrics |= {
    "hours_15m_write": most["write_hours"], "hours_15m_read": most["read_hours"], "hours_15m_tokenise": most["tokenise_hours"], "gb_15m": most["gb"], "gb_15m_tokens": most["token_gb"], "gpu_hours_15m": most["gpu_hours"], "euros_15m": most["euros"],
    "hours_15m_read_large": most_large["read_hours"], "gb_15m_large": most_large["gb"], "euros_15m_large": most_large["euros"], "feeding_cores_large": most_large["feeding_cores"], "hours_15m_train_here": collections["PMC-15M"] / ends["train_images_per_s"] / 3600,
}
plots.box(f"""
- Nothing may be held whole. Over {images:,} images, {width} pixels wide (median), memory changed by {signed(ends['rss_growth_mib'])} MiB while they were read, and by {signed(ends['tokenise_growth_mib'])} MiB while they were tokenised.
  Keeping {ends['kept_images']:,} images of {kept_side} × {kept_side} pixels in memory took {ends['kept_growth_mib']:.0f} MiB more.
- One core reads and decodes {ends['read_images_per_s_core']:,.0f} of these images a second, tokenises {ends['tokenise_images_per_s_core']:,.0f}, and trains a model of {short(ends['mae_weights'])} weights on {ends['train_images_per_s_core']:,.0f}.
- At these rates, {cores} cores would read 15 million images in {lasting(ends['hours_15m_read'])} and tokenise them in {lasting(ends['hours_15m_tokenise'])}. As JPEG of {large_side} pixels, reading takes {lasting(ends['hours_15m_read_large'])}, and they fill {short(ends['gb_15m_large'])} GB. The tokens of images scaled to {side} pixels fill {short(ends['gb_15m_tokens'])} GB.
- This is arithmetic. What was measured are {images:,} images; everything beyond is extrapolated, on images that are smaller and simpler than those of articles.
""", "callout-tip", title="Takeaway")

# %% [markdown]
# ## What has to change
#
# The other chapters load a data set, make one tensor of all images, keep all tokens in one file, and train on rows in random order. All of that asks for memory in proportion to the data.
#
# | step | with thousands of images | with millions |
# |:--|:--|:--|
# | storage | a file an image | *shards*: tar files of some hundreds or thousands of images, read from front to back |
# | reading | everything, then rows by number | a stream, one row at a time |
# | order | a new random order each time | shards in random order, and a buffer that shuffles what is near |
# | more processes | each reads everything | each has shards of its own |
# | interruption | begin again | go on after the last whole shard (writing), or from the stream's state (reading) |
# | a broken image | stop and repair it | skip it, count it, say which one it was |
# | a broken file | stop | compare each shard's hash with the index first |
# | tokens | made when they are needed | made once: they are far smaller than pictures |
#
# The shards have WebDataset's layout, `<key>.png` beside `<key>.json`, which Hugging Face `datasets` streams. `medmm_lib.data.shards` and `streams` add what that does not do:
#
# ```
# write(folder, rows, n):                             # one process a folder
#     for n rows at a time, after those of the last whole shard:
#         write them to a neighbour, hashing            # one row in memory
#         give it the shard's name                      # whole or not there
#     write index.json                                  # name, count, sha256, bytes of every shard
# ```

# %%
#| label: tbl-collections
#| tbl-cap: "Collections of medical images with texts, as published."
cited = {"MedPix 2.0": "@siragusa2024", "ROCOv2": "@ruckert2024", "PMC-OA": "@lin2023pmcclip", "PMC-15M": "@zhang2023biomedclip"}
Markdown("\n".join(["| collection | images | source |", "|:--|--:|:--|", *(f"| {title} | {many:,.0f} | {cited[title]} |" for title, many in collections.items())]))

# %% [markdown]
# ## Memory over the stream
#
# The claim to test is that memory does not grow with the number of images. The process is weighed as it goes: what it holds in memory (its resident set), and the most it ever held.
# The control keeps its images, as a data set in memory would; it shows that the scales work. Memory that earlier stages gave back is used again, so a stage may also shrink.

# %%
#| label: fig-memory
#| fig-cap: "Memory that the process holds, beyond what it held when the stage began, over images streamed: in the longest run there is. The control keeps its images."
#| fig-alt: "Lines for reading, tokenising and training stay flat or level off, the line of the control rises steadily."
KINDS = {"read": "read and decode", "tokenise": "tokenise", "train": "train", "kept": "control: keep everything"}
title, longest = max(results.with_records(record).items(), key=lambda item: item[1]["metrics"]["images_streamed"])
figure = go.Figure()
for key, label in KINDS.items():
    curve = pd.DataFrame(longest["curves"][key])
    figure.add_scatter(x=curve["images"], y=curve["rss_mib"] - curve["rss_mib"].iloc[0], mode="lines", name=label, customdata=curve["peak_mib"], hovertemplate="%{x:,} images: %{y:.1f} MiB more, peak %{customdata:.0f} MiB")
figure.update_layout(xaxis={"title": "<br>".join(["images streamed", *wrap(f"({title})", 44)])}, yaxis={"title": "MiB beyond the beginning"})
m = longest["metrics"]
plots.show(figure, alt=f"Memory over images, {title}: after the first tenth, reading {m['images_streamed']:,} images changes it by {signed(m['rss_growth_mib'])} MiB, tokenising by {signed(m['tokenise_growth_mib'])}, training by {signed(m['train_growth_mib'])}; keeping {m['kept_images']:,} adds {m['kept_growth_mib']:.0f}.")

# %%
#| label: tbl-memory
#| tbl-cap: "Memory after the first tenth of the images and at the end, MiB. Writing: the process that grew most. The peak is the process's own up to then, with libraries and all earlier stages in it."
for title, one in results.with_records(record).items():
    curves = {key: one["curves"][key] for key in KINDS} | {"write": max((curve for key, curve in one["curves"].items() if key.startswith("write ")), key=growth_mib)}
    rows = []
    for key, label in {"write": "write", **KINDS}.items():
        curve = curves[key]
        after = [point["rss_mib"] for point in curve if point["images"] >= curve[-1]["images"] / 10]
        rows.append({"stage": label, "images": int(curve[-1]["images"]), "after a tenth": f"{curve[-1]['rss_mib'] - growth_mib(curve):,.0f}", "at the end": f"{curve[-1]['rss_mib']:,.0f}", "growth": signed(growth_mib(curve)), "lowest to highest between": f"{min(after):,.0f} to {max(after):,.0f}", "peak": f"{curve[-1]['peak_mib']:,.0f}"})
    display(Markdown(f"*{title[0].upper()}{title[1:]}.*"), plots.table(pd.DataFrame(rows)))

# %%
#| echo: false
lines = []
for title, one in results.with_records(record).items():
    m = one["metrics"]
    whole = collections["PMC-15M"] * m["kept_bytes_per_image"] / 1e9
    lines.append(f"*{title[0].upper()}{title[1:]}.* While the last nine tenths of {m['images_streamed']:,} images were read, memory changed by {signed(m['rss_growth_mib'])} MiB. Keeping images added {1e6 * m['kept_growth_mib'] / (0.9 * m['kept_images']) / 1024:,.0f} GiB a million; 15 million pictures of {one['parameters']['kept_side']} × {one['parameters']['kept_side']} pixels, grey and in 32 bits, are {whole:,.0f} GB.")
Markdown("\n\n".join(lines) + "\n\nA run of a few thousand images is too short to tell a slow leak from the noise of an allocator; the longest run is what counts.")

# %% [markdown]
# ## What each stage takes
#
# Rates are images a *core-second*: processor time of one thread, without waiting. What the stream itself takes is counted with reading, and taken off tokenising and writing; training includes it.

# %%
#| label: tbl-stages
#| tbl-cap: "Images a core-second, by stage."
columns = {}
for title, one in results.with_records(record).items():
    columns[title] = {label: f"{one['metrics'][f'{key}_images_per_s_core']:,.0f}" if f"{key}_images_per_s_core" in one["metrics"] else results.NOT_MEASURED for key, label in STAGES.items()}
plots.table(pd.DataFrame(columns).rename_axis("one core can, each second").reset_index())

# %%
#| echo: false
lines = []
for title, one in results.with_records(record).items():
    m, used = one["metrics"], one["parameters"]
    how = f"{m['images_drawn']:,} images were drawn, by {used['processes']} processes at once, which made {m['draw_write_images_per_s']:.0f} a second together" if m["images_drawn"] else "no image was drawn, and pictures were written as the files they are"
    lines.append(f"*{title[0].upper()}{title[1:]}.* {m['images_streamed']:,} images in {m['shards']:,} shards, {m['bytes_per_image']:,.0f} bytes each with their text, {m['tokens_per_image']:.0f} tokens each: {how}. {results.number(m['skipped'])} were skipped. Training on {m['train_steps']:,} batches, each image once, did {m['train_images_per_s']:,.0f} images a second on one core; {m['train_reading_percent']:.0f} % of its core-seconds went into the stream.")
Markdown("\n\n".join(lines))

# %% [markdown]
# Drawing is what a phantom costs; no real collection has that step. The image tokeniser is trained for a few steps only: its speed does not depend on what it has learned, its codes would.

# %%
#| label: fig-loss
#| fig-cap: "Loss of the masked autoencoder on images that it has not seen before, as each is seen once. Dotted: the error of the mean image."
#| fig-alt: "A falling curve of the loss over training steps, beside a dotted line for the mean image."
figure = go.Figure()
for title, one in results.with_records(record).items():
    curve = pd.DataFrame(one["curves"]["losses"])
    figure.add_scatter(x=curve["step"], y=curve["loss"], mode="lines", name=title)
    figure.add_scatter(x=curve["step"].iloc[[0, -1]], y=[one["metrics"]["mean_image_error"]] * 2, mode="lines", line={"dash": "dot", "color": plots.TEXT}, name=f"mean image, {title}")
figure.update_layout(xaxis={"title": "step", "type": "log"}, yaxis={"title": "squared error, pixels in −1 to 1", "type": "log"})
plots.show(figure, alt=f"The loss falls to {record.metrics['loss']:.3f} in {record.metrics['train_steps']} steps; the mean image has {record.metrics['mean_image_error']:.3f}.")

# %%
#| echo: false
Markdown("\n\n".join(f"*{title[0].upper()}{title[1:]}.* After {one['metrics']['train_steps']:,} steps the loss is {one['metrics']['loss']:.3f}; the mean image, a guess without a model, has {one['metrics']['mean_image_error']:.3f}. {'So the model that was fed by the stream learned something.' if one['metrics']['loss'] < one['metrics']['mean_image_error'] else 'So this training was too short to beat it; only its speed counts.'}" for title, one in results.with_records(record).items()))

# %% [markdown]
# ## Larger pictures
#
# Images of articles are larger, in colour, and not drawn. So a few phantom images of a larger size are encoded, decoded and scaled down as a second point. What real archives fill is a third.

# %%
#| label: tbl-pictures
#| tbl-cap: "One picture by size and format, in this run: bytes, core-milliseconds to encode it, and to decode it and scale it to what models take."
plots.table(pd.DataFrame([{"width": round(cost["size"]), "format": cost["format"], "bytes": round(cost["bytes"]), "encode, ms": f"{cost['write_ms']:.2f}", "decode and scale, ms": f"{cost['read_ms']:.2f}"} for cost in costs]))

# %%
#| echo: false
each = 1e6 * published["BIOMEDICA: archive, TB"] / published["BIOMEDICA: image-caption pairs, about"]
Markdown(f"""A picture of {large_side} pixels has {(large_side / width) ** 2:.0f} times as many pixels as one of {width}. As PNG it takes {costs[2]['bytes'] / costs[0]['bytes']:.0f} times the bytes and {costs[2]['read_ms'] / costs[0]['read_ms']:.0f} times as long to read; as JPEG {costs[3]['bytes'] / costs[0]['bytes']:.0f} and {costs[3]['read_ms'] / costs[0]['read_ms']:.0f} times.
BIOMEDICA, an archive of {published['BIOMEDICA: image-caption pairs, about'] / 1e6:.0f} million image–caption pairs from articles, is published as {published['BIOMEDICA: archive, TB']:.0f} TB [@lozano2025]: {each:,.2f} MB a pair, with everything that it holds beside them. That is {1e6 * each / large_costs.bytes:.0f} times what is reckoned here for {large_side} pixels.""")

# %% [markdown]
# ## What a stream has to survive
#
# With millions of images from elsewhere, some are broken. Here a copy of the beginning of the stream gets three faults: a picture that is cut off, one whose header claims 60,000 × 60,000 pixels, and a shard
# in which one byte has changed. The writer is also stopped once in the middle.

# %%
#| code-summary: "Break things"
def absurd(file):
    """A PNG whose header claims 60,000 × 60,000 pixels, with a correct checksum."""
    head = b"IHDR" + struct.pack(">II", 60_000, 60_000) + file[24:29]
    return file[:12] + head + struct.pack(">I", zlib.crc32(head)) + file[33:]


sound = shards.encoded(begin[0]["image"])
given = [{"image": row["image"], "image_id": str(number), "caption": row["caption"]} for number, row in enumerate(begin[:60])]
given[25]["image"], given[45]["image"] = sound[: len(sound) // 2], absurd(sound)
trial = FOLDER / "trial" / "shards"
for old in trial.glob("*.*"):
    old.unlink()


def stopping(last):
    """The rows up to one in the middle of the third shard, then an error."""
    yield from given[:27]
    raise InterruptedError


try:
    shards.write(trial, stopping, 10)
except InterruptedError:
    begun = len(list(trial.glob("*.tar")))
tried = shards.write(trial, lambda last: given[int(last) + 1 :], 10)
told = streams.Faults()
seen = [row["image_id"] for row in streams.decoded(streams.stream(tried), told)]
content = bytearray(tried[3].path.read_bytes())
content[1000] ^= 1
tried[3].path.write_bytes(content)
told_damaged = shards.damaged(tried)
record.metrics |= {"trial_images": len(given), "trial_whole_shards": begun, "trial_read": len(seen), "trial_twice": len(seen) - len(set(seen)), "faults_told": told.count, "damaged_told": len(told_damaged)}

# %%
#| label: tbl-faults
#| tbl-cap: "What was told of the faults."
plots.table(pd.DataFrame([{"where": key, "what": why} for key, why in (told.told | told_damaged).items()]))

# %%
#| echo: false
Markdown(f"The writer was stopped after {begun} whole shards and went on: of {len(given)} images, {len(seen)} came back, {len(seen) - len(set(seen))} of them twice, and {told.count} were skipped and told. {len(told_damaged)} of {len(tried)} shards was found damaged by its hash; a stream is only given those that are whole.")

# %% [markdown]
# ## Hours, gigabytes and euros
#
# Everything here is proportional: images × what one takes, divided by cores. What one takes was measured on this machine for images of two sizes; the GPU's hours are reckoned from operations, as in
# [chapter 07](07_scaling_laws.ipynb), and no GPU was measured.

# %%
#| echo: false
Markdown(f"Assumed: {cores} cores at {euros_per_core_hour:.2f} euros an hour each; one {gpu} that reaches {mfu:.0%} of its peak, at {euros_per_hour:.2f} euros an hour; an image encoder of {short(weights)} weights that sees {image_tokens} tokens an image, 6 operations a weight and token, each image {epochs} times; {euros_per_tb_month:.0f} euros a month for 10¹² bytes. Images are those of the shards, {width} pixels wide, or JPEG of {large_side} pixels, encoded once.")

# %%
#| label: tbl-plan
#| tbl-cap: "From 2,050 images to 15 million, reckoned from this run's rates. Writing, reading and tokenising: by all cores together. Everything beyond the images of this run is extrapolated."
rows = []
for size, bill in bills.items():
    for title, one in bill.items():
        rows.append({"images": f"{title}, {size}"} | {label: lasting(one[key]) for key, label in {"write_hours": "write", "read_hours": "read once", "tokenise_hours": "tokenise", "gpu_hours": "train, one GPU"}.items()} | {label: short(one[key]) for key, label in {"gb": "GB", "token_gb": "as tokens, GB", "euros": "euros", "euros_a_month": "euros a month to keep"}.items()})
plots.table(pd.DataFrame(rows))

# %%
#| label: fig-hours
#| fig-cap: "Hours of each stage by the number of images, for JPEG of the larger size. Filled points: fewer images than this run streamed; open: extrapolated."
#| fig-alt: "Straight lines on logarithmic axes: hours rise in proportion to images."
figure = go.Figure()
sizes = list(collections.values())
for key, label in {"write_hours": f"write, {cores} cores", "read_hours": f"read once, {cores} cores", "tokenise_hours": f"tokenise, {cores} cores", "gpu_hours": f"train {epochs} times, one GPU"}.items():
    symbols = ["circle" if many <= images and key != "gpu_hours" else "circle-open" for many in sizes]
    figure.add_scatter(x=sizes, y=[one[key] for one in bills[f"{large_side} px JPEG"].values()], mode="lines+markers", marker={"symbol": symbols, "size": 9}, name=label)
figure.update_layout(xaxis={"title": "images", "type": "log"}, yaxis={"title": "hours", "type": "log"})
plots.show(figure, alt=f"Hours over images for JPEG of {large_side} pixels. At 15 million: writing {short(most_large['write_hours'])}, reading {short(most_large['read_hours'])}, tokenising {short(most_large['tokenise_hours'])}, training {short(most_large['gpu_hours'])} GPU-hours.")

# %%
#| echo: false
Markdown(f"""Two things follow, if the rates hold. A GPU that trains as assumed takes {large_costs.trained_a_second(machine):,.0f} images a second, so {short(most_large['feeding_cores'])} cores must decode pictures of {large_side} pixels while it trains; with fewer, it waits. And tokens are small: scaled to {side} pixels, as here, 15 million images are {(side // patch) ** 2} tokens each, and with their captions they fill {short(most['token_gb'])} GB as 16-bit numbers,
against {short(most_large['gb'])} GB of pictures of {large_side} pixels. That leaves out what scaling down loses: scaled to 224 pixels, with tokens of 16 pixels, an image would be 196 tokens. Either way, a 4M model is best trained from tokens that were made once; then decoding is no longer what limits it. On one core of this machine, the small model would take {lasting(ends['hours_15m_train_here'])} for 15 million images like these, once.""")

# %% [markdown]
# In JupyterLab, not on this page, a widget reckons with other numbers.

# %% tags=["widget"]
def reckon(millions, cores, epochs, size):
    """Show the bill of other numbers."""
    one = {"small": small_costs, "large": large_costs}[size].bill(1e6 * millions, machine, cores=cores, epochs=epochs)
    display(plots.table(pd.DataFrame([{"": key.replace("_", " "), "value": short(value)} for key, value in one.items()])))


ipywidgets.interactive(reckon, millions=ipywidgets.FloatLogSlider(15, min=-3, max=2, step=0.1), cores=(1, 128), epochs=(1, 64), size=["large", "small"])

# %% [markdown]
# ## Limits
#
# - Phantom images are smaller, in grey, and simpler than those of articles. Bytes and decoding times are for the sizes named; the larger ones are drawn, too, and few.
# - The plan is proportional. Disks and networks that are slower than the cores, machines that fail, and people who wait are not in it. Cores are taken to work side by side without loss.
# - Everything is scaled to the size that this report's small models take, before it is tokenised or trained on. Larger inputs take longer, and more tokens.
# - Rates count processor time. A disk that can't keep up shows only in the clock.
# - Downloading, finding figures in articles, cutting compound figures apart, cleaning captions and telling duplicates are not measured. At 15 million they may well cost most.
# - A shard can't have a name twice. That no name stands in two shards is up to who gives the rows; so is that one patient is in one split.
# - The Trainer does not keep the state of a stream: this training would begin again. `state_dict` of the stream itself goes on exactly, which a test checks.
# - What more data is worth is another question ([chapter 07](07_scaling_laws.ipynb)).

# %% [markdown]
# ## Run card

# %%
#| echo: false
summary = record.save()
results.card(summary)

# %%
#| echo: false
results.beside_record(summary, {
    "images_streamed": "Images streamed", "images_drawn": "… drawn", "draw_images_per_s_core": "Drawn a core-second", "write_images_per_s_core": "Written a core-second", "read_images_per_s_core": "Read a core-second", "tokenise_images_per_s_core": "Tokenised a core-second",
    "train_images_per_s": "Trained on a second", "bytes_per_image": "Bytes an image", "rss_growth_mib": "Growth while reading, MiB", "tokenise_growth_mib": "… tokenising", "train_growth_mib": "… training", "kept_growth_mib": "… keeping everything", "rss_peak_mib": "Peak memory, MiB",
    "hours_15m_read": "15 million, hours to read", "hours_15m_tokenise": "… to tokenise", "gb_15m_large": "… GB, larger pictures", "gb_15m_tokens": "… GB, tokens",
})

# %% [markdown]
# ## What's next
#
# This is the last chapter. The [journal](../journal/index.qmd) has the decisions and surprises behind it, [chapter 01](01_data_preparation.ipynb) what has to be checked before data grows.
