"""Vision-language models: what they take in memory, adapting one with LoRA, asking any of them."""
