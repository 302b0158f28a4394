"""What ends a chapter's page: the commands that run it again, and a download of what the page was made from."""

import base64
import json
import re
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import yaml

from medmm_lib import data, paths, results

LABEL = re.compile(r"^#\| label: (fig-[\w-]+)", re.M)
PLOTLY = "application/vnd.plotly.v1+json"


def offer(profile: str, chapter: str, notebook: dict[str, Any]) -> None:
    """Write the download of an executed chapter, and add the cell that offers it before "What's next".

    `notebook` is changed in place. A run that left no results is offered nothing: it can't be told what to repeat.
    """
    record = results.latest(profile, chapter)
    if record is None:
        return
    files = {
        f"{chapter}.ipynb": (paths.NOTEBOOKS / f"{chapter}.ipynb").read_text(encoding="utf-8"),
        f"{chapter}.yml": yaml.safe_dump(record["parameters"], allow_unicode=True, sort_keys=False),
        "results.json": json.dumps(record, ensure_ascii=False, indent=1) + "\n",
        "figures.json": json.dumps(figures(notebook), ensure_ascii=False) + "\n",
    }
    with paths.written(paths.DOWNLOADS / f"{chapter}.zip") as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    cell = {"cell_type": "markdown", "id": "reproduce", "metadata": {}, "source": _told(record, notebook)}
    cells = notebook["cells"]
    next_up = [place for place, one in enumerate(cells) if "".join(one["source"]).startswith("## What's next")]
    cells.insert(next_up[-1] if next_up else len(cells), cell)


def figures(notebook: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The data of a notebook's figures by label: Plotly's traces, with numbers in plain lists, and what they show."""
    found: dict[str, dict[str, Any]] = {}
    for cell in notebook["cells"]:
        shown = [output["data"] for output in cell.get("outputs", []) if PLOTLY in output.get("data", {})]
        label = LABEL.search("".join(cell["source"]))
        for place, bundle in enumerate(shown, 1):
            name = label[1] if label else f"figure-{len(found) + 1}"
            name = name if len(shown) == 1 else f"{name}-{place}"
            found[name] = {"shows": "".join(bundle.get("text/plain", "")), "traces": _plain(bundle[PLOTLY]["data"])}
    return found


def _plain(value: object) -> object:
    """Plotly's JSON with its packed arrays (`bdata`) as lists."""
    if isinstance(value, dict) and "bdata" in value:
        array = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
        shape = [int(size) for size in str(value.get("shape", array.size)).split(",")]
        return array.reshape(shape).tolist()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _told(record: dict[str, Any], notebook: dict[str, Any]) -> str:
    chapter, git = record["chapter"], record["git"]
    earlier = notebook["metadata"].get("medmm", {}).get("reads", [])
    command = " ".join(
        [f".venv/bin/medmm run --profile {record['profile']}", *(f"--only {name}" for name in [*earlier, chapter])]
    )
    if any(name in record["data"].get("name", "") for name in data.LOADERS):
        command = f"MEDMM_DATA=<folder of the data> {command}"
    checkout = f"git checkout {git['commit'][:10]}\n" if git["commit"] and not git["dirty"] else ""
    reads = f" It reads what {' and '.join(earlier)} left, so those run first." if earlier else ""
    return f"""## Reproduce this chapter

In a clone of the repository:{reads}

```bash
{checkout}make setup
{command}
```

The run on this page took {record["wall_s"]:,.0f} s on {record["device"]["name"]}. To change something, copy the
parameters, and name your copy: `papermill notebooks/{chapter}.ipynb out.ipynb -f my_parameters.yml`.

[Download](../downloads/{chapter}.zip) the notebook, the parameters of this run, its numbers, and its figures' data.
"""
