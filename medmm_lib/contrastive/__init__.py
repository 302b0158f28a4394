"""Image encoders that learn from images alone (MAE), and from what a language model makes of their texts."""
