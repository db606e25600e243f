"""Tables that other authors published, as coefficients: AdaSDE's, EPD's and DyWeight's predictors."""

from adasde.integrations.released.files import load_predictor
from adasde.integrations.released.parallel import from_raw, released_gamma

__all__ = ["from_raw", "load_predictor", "released_gamma"]
