"""What a chapter's result depends on: its notebook and the project's own modules that it imports, by content."""

import ast
import gc
import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from medmm_lib import paths


def code_hash(chapter: str) -> str:
    """A hash of the chapter's cells, of every project module that it reaches, and of the programs that it runs.

    The folders of those programs are listed in the notebook's metadata: `medmm: {runs: [kernels/benchmarks]}`.
    """
    digest = hashlib.sha256()
    notebook = nbformat.read(paths.NOTEBOOKS / f"{chapter}.ipynb", as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        digest.update(json.dumps([cell.cell_type, cell.source, tags]).encode())
    runs = notebook.metadata.get("medmm", {}).get("runs", [])
    programs = [path for folder in runs for path in sorted((paths.ROOT / folder).glob("*.py"))]
    cells = [_python(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    modules = library_files("\n".join([*cells, *(path.read_text(encoding="utf-8") for path in programs)]))
    for path in [*programs, *modules]:
        digest.update(f"{path.relative_to(paths.ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def library_files(source: str) -> list[Path]:
    """The files of `medmm_lib` and `medmm_kernels` that Python `source` imports, directly or through each other.

    Files that are no Python modules (templates, tables) count with the package that holds them.
    """
    found: set[Path] = set()
    todo = list(_modules(source))
    while todo:
        for path in _files(todo.pop()) - found:
            found.add(path)
            if path.suffix == ".py":
                todo += _modules(path.read_text(encoding="utf-8"))
    return sorted(found)


def files_hash(files: Iterable[tuple[str, Path]], *, by_size: Collection[str] = ()) -> str:
    """A hash of files: of each its name, as given, and its content, or its size where the suffix is in `by_size`."""
    digest = hashlib.sha256()
    for name, path in sorted(files):
        content = str(path.stat().st_size).encode() if path.suffix in by_size else path.read_bytes()
        digest.update(f"{name}\0".encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def json_hash(value: object) -> str:
    """A hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _python(source: str) -> str:
    """Cell source as plain Python: IPython's own syntax (`%time`, `!ls`, `obj?`) becomes calls."""
    return TransformerManager().transform_cell(source)


def _modules(source: str) -> Iterable[str]:
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(source: str) -> ast.Module:
    """The syntax tree of some Python.

    No garbage is collected meanwhile: where that runs code that parses as well, CPython 3.11 fails (gh-106905).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if collects:
            gc.enable()


def _files(module: str) -> set[Path]:
    """The files of one project module and of the packages above it; none for a foreign or unknown module."""
    top, *rest = module.split(".")
    base = {"medmm_lib": paths.ROOT, "medmm_kernels": paths.ROOT / "kernels"}.get(top)
    if base is None:
        return set()
    files: set[Path] = set()
    folder = base
    for part in [top, *rest]:
        if (folder / part / "__init__.py").is_file():
            folder = folder / part
            files |= {p for p in folder.iterdir() if p.is_file() and p.suffix != ".py"} | {folder / "__init__.py"}
        elif (folder / f"{part}.py").is_file():
            files.add(folder / f"{part}.py")
            break
        else:
            break
    return files
