"""A version of the paper's analysis on two circles: errors of ODE and SDE solvers, terms of the bounds."""

from adasde.experiments.two_circles.bounds import BoundSettings
from adasde.experiments.two_circles.bounds_stage import bounds
from adasde.experiments.two_circles.settings import QUICK, Settings
from adasde.experiments.two_circles.stage import analyse

__all__ = ["QUICK", "BoundSettings", "Settings", "analyse", "bounds"]
