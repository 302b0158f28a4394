"""Masking kernels for 4M-style masked multimodal modelling.

The kernels arrive with chapter 04; this package fixes their import name, because a top-level `kernels` package would
shadow the Hugging Face package of that name.
"""
