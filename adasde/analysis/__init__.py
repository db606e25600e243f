"""The paper's analysis on two circles: what an ODE solver and an SDE solver each do wrong."""

from adasde.analysis.settings import QUICK, Settings
from adasde.analysis.stage import analyse

__all__ = ["QUICK", "Settings", "analyse"]
