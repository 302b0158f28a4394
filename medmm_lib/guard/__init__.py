"""A guard between a model and a patient: what may be said, what a person should say, what nobody should."""

from medmm_lib.guard.review import Guard, Verdict

__all__ = ["Guard", "Verdict"]
