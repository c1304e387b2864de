"""The suites, one module for each table.

To add a suite, add a module with `suite(night, params)` here. It is found by its place in this folder.
"""

import importlib
import pkgutil

from checks.suite import NightFacts, Suite
from core.config import CheckConfig


def night_suites(night: NightFacts, params: CheckConfig) -> list[Suite]:
    """Return the suites of all modules of this package, sorted by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [module.suite(night, params) for module in modules]
