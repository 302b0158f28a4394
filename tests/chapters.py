"""Small chapters, which run in a few seconds."""

import jupytext

NOTEBOOK = """
# %% tags=["parameters"]
profile: str = "quick"  # profile
rate: float = 0.5  # a number

# %%
from medmm_lib.parameters import read
from medmm_lib.results import RunRecord
parameters = read(globals())

# %%
record = RunRecord("{chapter}", parameters, data={{"name": "none", "fingerprint": "abc"}})
record.metrics["double_rate"] = 2 * rate
{body}
record.save();
"""


# The kernel is another process: its notebooks set the paths that `project` has set here.
PATHS = """
import os
from pathlib import Path
from medmm_lib import paths
if root := os.environ.get("MEDMM_TEST_PROJECT"):
    paths.NOTEBOOKS, paths.ARTIFACTS = Path(root) / "notebooks", Path(root) / "artifacts"
"""


def write_chapter(folder, name, body="", reads=(), runs=(), values="rate: 0.5\n"):
    text = NOTEBOOK.format(chapter=name, body=body).replace("parameters = read", PATHS + "parameters = read")
    notebook = jupytext.reads(text, "py:percent")
    notebook.metadata["medmm"] = {"reads": list(reads), "runs": list(runs)}
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "notebooks").mkdir(exist_ok=True)
    jupytext.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    (folder / "params" / "quick").mkdir(parents=True, exist_ok=True)
    (folder / "params" / "quick" / f"{name}.yml").write_text(values)
