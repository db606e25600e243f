"""``adasde doctor``: every part that the pipeline and its schedules rely on, and what is wrong with it."""

from flows.doctor.examine import examine
from flows.doctor.findings import Finding, show

__all__ = ["Finding", "examine", "show"]
