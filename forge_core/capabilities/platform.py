"""The platform's own capabilities: declared in modules of its own, named in ``FORGE_CAPABILITIES``.

Each module has a tuple ``CAPABILITIES``. Every process of the house has to know the same ones: a
key that is not declared where its proposal is executed makes that fail by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module

from forge_core.capabilities.declaration import Capability
from forge_core.errors import Misconfigured

VARIABLE = "FORGE_CAPABILITIES"


def platform_capabilities() -> tuple[Capability, ...]:
    """What the named modules declare. ``Misconfigured`` when one cannot be imported."""
    names = os.environ.get(VARIABLE, "").replace(",", " ").split()
    return tuple(declared for name in names for declared in _declared_in(name))


def _declared_in(name: str) -> Iterator[Capability]:
    try:
        declared = import_module(name).CAPABILITIES
    except (ImportError, AttributeError) as error:
        raise Misconfigured(
            f"{VARIABLE} names {name}, which cannot be imported or has no CAPABILITIES: {error}"
        ) from error
    for one in declared:
        if not isinstance(one, Capability):
            raise Misconfigured(f"{name}.CAPABILITIES holds {type(one).__name__}, not a Capability")
        yield one
