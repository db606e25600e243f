"""Tables of other authors as coefficients: AdaSDE's, EPD's, DyWeight's, LD3's and NeuralSolver's."""

from adasde.integrations.released.dyweight import from_weights
from adasde.integrations.released.files import load_predictor
from adasde.integrations.released.flow import from_flow
from adasde.integrations.released.ld3 import from_times
from adasde.integrations.released.parallel import from_raw, released_gamma
from adasde.integrations.released.velocities import from_velocities

__all__ = [
    "from_flow",
    "from_raw",
    "from_times",
    "from_velocities",
    "from_weights",
    "load_predictor",
    "released_gamma",
]
