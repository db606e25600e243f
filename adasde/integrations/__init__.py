"""Coefficients in other people's programs; each module needs the library that it is named after."""

from adasde.vision import usable_torchvision

usable_torchvision()
