"""Coefficients in other programs; a module needs the library that it is named after."""

from adasde.utils.torchvision_compat import usable_torchvision

usable_torchvision()
