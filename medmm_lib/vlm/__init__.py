"""Vision-language models: what they take in memory, adapting one with LoRA, asking any of them."""

import logging
import warnings

from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

# bitsandbytes says on import that an optional package is missing, and at every product in 8 bits that it rounds its
# input; peft asks transformers a question by its old name. Nobody can act on these, and they would fill every page.
for _name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
    logging.getLogger(_name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
# Bars of tasks that take a second stay on a page for ever.
disable_progress_bars()
disable_progress_bar()
