"""`python -m medmm_lib.evaluation predictions.jsonl`: prints the full table and writes it as JSON."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from medmm_lib import paths
from medmm_lib.evaluation import predictions


def main(arguments: list[str] | None = None) -> int:
    """Score one file; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m medmm_lib.evaluation", description=__doc__)
    parser.add_argument("file", type=Path, help=".jsonl or .csv: question, reference, prediction[, patient_id, type]")
    parser.add_argument("--out", type=Path, help="where to write the JSON (default: beside the file, .metrics.json)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    options = parser.parse_args(arguments)
    try:
        result = predictions.score(predictions.read(options.file), seed=options.seed)
    except (predictions.PredictionsError, OSError) as error:
        print(f"medmm: {error}", file=sys.stderr)
        return 1
    out = options.out or options.file.with_suffix(".metrics.json")
    paths.write_atomically(out, json.dumps({"file": options.file.name} | _finite(result), indent=2) + "\n")
    print(predictions.as_text(result))
    print(f"\nWritten to {out}")
    return 0


def _finite(value: Any) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """The value with null for what is undefined: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
