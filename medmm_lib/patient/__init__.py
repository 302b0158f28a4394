"""The report that a patient takes home: the scan, what is to be seen on it, and the questions asked."""

from medmm_lib.patient.report import Report, write

__all__ = ["Report", "write"]
