"""The catalogue of the house, and with it what a platform might declare beside."""

from __future__ import annotations

import pytest

from forge_core.actions.catalogue import Catalogue
from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.wiring import CATALOGUE

# The classes and types that no key of the house itself has.
_PLATFORM = (
    Capability(
        key="treasury.budget",
        klass=CapabilityClass.TREASURY,
        description="declared for a test",
        type="decimal",
        default="12",
        least=0,
        most=50,
    ),
    Capability(
        key="maintenance",
        klass=CapabilityClass.ORDINARY,
        description="declared for a test",
        type="boolean",
        default=False,
    ),
    Capability(
        key="siren.volume",
        klass=CapabilityClass.EMERGENCY,
        description="declared for a test",
        type="integer",
        default=5,
        least=0,
        most=10,
    ),
)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return CATALOGUE.with_extensions(_PLATFORM, ())


@pytest.fixture(scope="session")
def values(catalogue):
    return catalogue.with_defaults({})
