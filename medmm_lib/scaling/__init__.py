"""Scaling laws and what they cost: power laws of curves and of sizes, FLOPs, and a planner."""

from medmm_lib.scaling.parametric import ParametricFit, fit_parametric
from medmm_lib.scaling.power_law import PowerLawFit, fit_power_law

__all__ = ["ParametricFit", "PowerLawFit", "fit_parametric", "fit_power_law"]
