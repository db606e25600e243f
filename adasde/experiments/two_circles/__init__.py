"""The paper's analysis on two circles: what an ODE solver and an SDE solver each do wrong."""

from adasde.experiments.two_circles.settings import QUICK, Settings
from adasde.experiments.two_circles.stage import analyse

__all__ = ["QUICK", "Settings", "analyse"]
