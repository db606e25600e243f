"""The paper's analysis on two circles: the errors of an ODE solver and of an SDE solver."""

from adasde.experiments.two_circles.settings import QUICK, Settings
from adasde.experiments.two_circles.stage import analyse

__all__ = ["QUICK", "Settings", "analyse"]
