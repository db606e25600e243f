"""``adasde doctor``: checks of everything that the pipeline and its schedules rely on."""

from flows.doctor.examine import examine
from flows.doctor.findings import CheckResult, show

__all__ = ["CheckResult", "examine", "show"]
