"""Image encoders that learn from images alone (MAE), and from what a language model makes of their texts."""

from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

# Bars of loading and mapping would stand on the report's pages.
disable_progress_bars()
disable_progress_bar()
