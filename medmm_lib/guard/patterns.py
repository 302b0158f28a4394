"""The patterns of `rules.yml`: what the guard looks for in plain texts."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("rules.yml")


@cache
def shipped() -> dict[str, Any]:
    """The file, as it is."""
    return yaml.safe_load(_FILE.read_text(encoding="utf-8"))


def either(patterns: Iterable[str]) -> re.Pattern[str]:
    """Whole words that one of the patterns fits."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(f'(?:{one})' for one in patterns)})(?!\w)")
