"""4M for medicine: modalities as tokens, one encoder–decoder, masked pretraining, any-to-any generation."""

from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.shape import FourMShape, Space, sized

__all__ = ["FourM", "FourMShape", "Space", "sized"]
