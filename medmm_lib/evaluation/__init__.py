"""Metrics of predictions, not of models: anyone's answers, scores, boxes and maps can be scored.

`python -m medmm_lib.evaluation predictions.jsonl` scores a file.
"""

from medmm_lib.evaluation.text import text_metrics

__all__ = ["text_metrics"]
