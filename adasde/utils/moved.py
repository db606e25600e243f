"""Old module names that published files and programs still import, each resolved to its present module."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    # the code in the folders of registered versions
    "adasde.images": "adasde.generation",
    "adasde.images.rows": "adasde.generation.serving",
    # documented for users
    "adasde.coefficients": "adasde.sampling.coefficients",
    "adasde.models.convert": "adasde.models.core.registry",
    "adasde.models.runtime": "adasde.models.core.precision",
    "adasde.noise": "adasde.sampling.noise",
    "adasde.released": "adasde.integrations.released",
    "adasde.schedules": "adasde.sampling.schedules",
    "adasde.solvers": "adasde.sampling.solvers",
    "adasde.store": "adasde.storage",
    "adasde.unrolled": "adasde.integrations.linear_form",
}


class MovedFinder(MetaPathFinder, Loader):
    """An import hook: a name in ``MOVED`` imports the module of its value."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(MOVED[module.__name__])


def install() -> None:
    """Add the hook, once, behind Python's own finders: a module that exists wins."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedFinder())
