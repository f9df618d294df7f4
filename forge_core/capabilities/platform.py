"""The platform's own capabilities: declared in modules of its own, named in ``FORGE_CAPABILITIES``.

Each module has a tuple ``CAPABILITIES``. Every process of the house has to know the same ones: a
key that is not declared where its proposal is executed makes that fail by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import import_module

from forge_core.capabilities.declaration import Capability
from forge_core.database import describe
from forge_core.errors import Misconfigured

VARIABLE = "FORGE_CAPABILITIES"


def with_platform(house: Iterable[Capability]) -> tuple[Capability, ...]:
    """The house's declarations and those of the named modules.

    Raises ``Misconfigured`` where a module cannot be had or declares a key that there is already.
    """
    declared = list(house)
    keys = {one.key for one in declared}
    for name in os.environ.get(VARIABLE, "").replace(",", " ").split():
        for one in _declared_in(name):
            if one.key in keys:
                raise _wrong(name, f"which cannot be added: {one.key} is declared twice")
            keys.add(one.key)
            declared.append(one)
    return tuple(declared)


def _declared_in(name: str) -> Iterator[Capability]:
    try:
        module = import_module(name)
    except Exception as error:  # the platform's code may raise anything
        raise _wrong(name, f"which cannot be imported: {describe(error)}") from error
    declared = getattr(module, "CAPABILITIES", None)
    if not isinstance(declared, Iterable):
        raise _wrong(name, "which has no tuple CAPABILITIES")
    for one in declared:
        if not isinstance(one, Capability):
            raise _wrong(name, f"whose CAPABILITIES hold {type(one).__name__}, not a Capability")
        yield one


def _wrong(name: str, problem: str) -> Misconfigured:
    return Misconfigured(f"{VARIABLE} names {name}, {problem}")
