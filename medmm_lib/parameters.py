"""Notebook parameters: declared once, in the cell tagged `parameters`, and checked however the notebook is run.

The cell holds lines such as `lr: float = 1e-4  # peak learning rate` and nothing else. Papermill injects a second cell
with the values of a parameter file and only warns about names that the first cell does not know; `read` refuses them.
"""

import ast
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from medmm_lib import paths
from medmm_lib.sources import parsed

# Names that IPython itself puts into a notebook's namespace.
_IPYTHON_NAMES = {"In", "Out", "exit", "quit", "open", "get_ipython"}
_STRICT = ConfigDict(strict=True)
_TYPES = {"bool": bool, "dict": dict, "float": float, "int": int, "list": list, "str": str}


class ParameterError(ValueError):
    """A parameter that is unknown or of the wrong type; the message names it and says what to write."""


@dataclass(frozen=True)
class Declared:
    """The parameters cell of a notebook: each name's type and default value."""

    types: dict[str, Any]
    defaults: dict[str, Any]


def declared(notebook: Path) -> Declared:
    """Read the parameters cell of `notebook`.

    Raises `ParameterError` when there is no such cell or when it holds more than annotated literals.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    sources = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(sources) != 1:
        raise ParameterError(f"{notebook.name}: expected one cell tagged 'parameters', found {len(sources)}")
    found = Declared({}, {})
    for statement in parsed(sources[0]).body:
        line = ast.unparse(statement)
        target = getattr(statement, "target", None)
        if not isinstance(statement, ast.AnnAssign) or statement.value is None or not isinstance(target, ast.Name):
            raise ParameterError(f"{notebook.name}: the parameters cell has {line!r}; write `name: type = literal`")
        try:
            found.types[target.id] = _type(statement.annotation)
        except ValueError as error:
            raise ParameterError(f"{notebook.name}: the parameters cell has {line!r}: {error}") from None
        try:
            found.defaults[target.id] = ast.literal_eval(statement.value)
        except ValueError:
            raise ParameterError(
                f"{notebook.name}: the parameters cell has {line!r}, whose value is computed. Papermill would not "
                "compute it again after a change: write a literal, and derive values in a later cell"
            ) from None
    return found


def _type(node: ast.expr) -> Any:  # noqa: ANN401 - an annotation can be anything
    """The type that an annotation names, without running it: `int`, `list[...]`, `dict[..., ...]`, `... | None`."""
    match node:
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return list[_type(inner)]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            return dict[_type(key), _type(value)]
    raise ValueError(f"{ast.unparse(node)} is no type of a parameter; expected such as int, list[str], str | None")


def read_file(path: Path) -> dict[str, Any]:
    """The values of a parameter file (YAML: a mapping of names to values; an empty file has none).

    Tags of objects and aliases are refused: the first would run code, and with the second a few lines can stand for
    billions of values, which fill the memory once something writes them out.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ParameterError(f"{path} has an alias (*name): write the value out")
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"{path}: this is not YAML: {error}") from error
    except RecursionError as error:
        raise ParameterError(f"{path}: lists or mappings are nested too deeply") from error
    except ParameterError:
        raise
    except ValueError as error:  # no UTF-8; a date or a number that can't be, such as 2026-13-45
        raise ParameterError(f"{path}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ParameterError(f"{path}: expected lines such as `name: value`, found a {type(values).__name__}")
    return values


def of_profile(profile: str, chapter: str) -> dict[str, Any]:
    """Every parameter of a chapter under a profile: the defaults, and what its parameter file sets."""
    defaults = declared(paths.NOTEBOOKS / f"{chapter}.ipynb").defaults
    return defaults | read_file(paths.PARAMS / profile / f"{chapter}.yml")


def check(types: dict[str, Any], values: dict[str, Any]) -> None:
    """Raise `ParameterError` for the first of `values` that has no declared type or does not fit it."""
    for name, value in values.items():
        if name not in types:
            known = ", ".join(sorted(types))
            raise ParameterError(f"unknown parameter {name!r}. This notebook has: {known}")
        try:
            TypeAdapter(types[name], config=_STRICT).validate_python(value)
        except ValidationError:
            raise ParameterError(_wrong_type(name, value, types[name])) from None


def read(namespace: dict[str, Any]) -> dict[str, Any]:
    """Check the parameters in a notebook's `globals()` and return them; the first cell after the parameters calls it.

    Raises `ParameterError` for a value that does not fit its annotation, and for a name that Papermill injected
    but the parameters cell does not declare.
    """
    types = namespace.get("__annotations__", {})
    unknown = [name for name in _injected(namespace) if name not in types]
    check(types, dict.fromkeys(unknown) | {name: namespace[name] for name in types})
    return {name: namespace[name] for name in types}


def _injected(namespace: dict[str, Any]) -> list[str]:
    """The names that were set from outside.

    In a notebook these are the assignments of the cells that Papermill injected (they begin with `# Parameters`): the
    namespace itself also holds what later cells made when a cell is run again by hand. Outside a notebook they are
    the plain names of the namespace.
    """
    if "In" not in namespace:
        return [
            name
            for name, value in namespace.items()
            if not name.startswith("_") and name not in _IPYTHON_NAMES and not _is_code(value)
        ]
    names = []
    for source in namespace["In"]:
        if source.startswith("# Parameters"):
            assignments = [node for node in parsed(source).body if isinstance(node, ast.Assign)]
            names += [target.id for node in assignments for target in node.targets if isinstance(target, ast.Name)]
    return names


def _is_code(value: object) -> bool:
    return isinstance(value, types.ModuleType | type) or callable(value)


def _wrong_type(name: str, value: object, expected: Any) -> str:  # noqa: ANN401 - an annotation can be anything
    wanted = expected.__name__ if isinstance(expected, type) and not hasattr(expected, "__args__") else str(expected)
    message = f"parameter {name!r} is {value!r}, a {type(value).__name__}; expected {wanted}"
    if isinstance(value, str) and "float" in wanted:
        try:
            number = float(value)
        except ValueError:
            return message
        mantissa, _, exponent = f"{number:e}".partition("e")
        mantissa = mantissa.rstrip("0") + ("0" if mantissa.rstrip("0").endswith(".") else "")
        message += f". YAML reads {value} as text: write {mantissa}e{int(exponent):+d}"
    return message
