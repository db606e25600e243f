"""The paper's analysis on two circles: the errors of an ODE solver and of an SDE solver."""

from adasde.experiments.two_circles.bounds import BoundSettings
from adasde.experiments.two_circles.bounds_stage import bounds
from adasde.experiments.two_circles.settings import QUICK, Settings
from adasde.experiments.two_circles.stage import analyse

__all__ = ["QUICK", "BoundSettings", "Settings", "analyse", "bounds"]
