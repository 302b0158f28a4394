"""Tables that a reader can sort: by a click on a column's name on the website; in JupyterLab as they are."""

import html
from collections.abc import Mapping, Sequence

import pandas as pd
from IPython.display import HTML


def sortable(frame: pd.DataFrame, by: Mapping[str, Sequence[float | str]] | None = None, *, tall: bool = False) -> HTML:
    """A table whose columns `report/assets/tables.js` sorts. Cells are texts, numbers, or `HTML`.

    `by`: what a column is sorted by where it is not what it shows, a value a row. Numbers are sorted as such. `tall`
    tables scroll in a box of their own.
    """
    by = by or {}
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in frame.columns)
    body = []
    for place, row in enumerate(frame.itertuples(index=False)):
        cells = (_cell(value, by[name][place] if name in by else None) for name, value in zip(frame, row, strict=True))
        body.append(f"<tr>{''.join(cells)}</tr>")
    table = f'<table class="dataframe sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    table = f'<div class="tall-table" tabindex="0">{table}</div>' if tall else table
    return HTML(f'{table}<script src="../assets/tables.js" defer></script>')


def _cell(value: object, key: float | str | None) -> str:
    shown = (
        value.data if isinstance(value, HTML) else html.escape(f"{value:,}" if isinstance(value, int) else str(value))
    )
    sorted_by = "" if key is None else f' data-sort="{html.escape(str(key), quote=True)}"'
    return f"<td{sorted_by}>{shown}</td>"
