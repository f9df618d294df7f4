"""A registry of what is declared, with one key of every class that comes later beside it."""

from __future__ import annotations

import pytest

from forge_core.capabilities import rate_limits
from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.capabilities.registry import Registry
from forge_core.proposals import track_values, weights


def _later(key: str, klass: CapabilityClass) -> Capability:
    return Capability(
        key=key,
        klass=klass,
        description="declared for a test",
        type="decimal",
        default="12",
        least=0,
        most=50,
    )


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry(
        [
            *rate_limits.CAPABILITIES,
            *track_values.CAPABILITIES,
            *weights.CAPABILITIES,
            _later("block_reward", CapabilityClass.PROTOCOL),
            _later("feature.exchange", CapabilityClass.FEATURE),
            _later("treasury.budget", CapabilityClass.TREASURY),
            Capability(
                key="maintenance",
                klass=CapabilityClass.ORDINARY,
                description="declared for a test",
                type="boolean",
                default=False,
            ),
        ]
    )


@pytest.fixture(scope="session")
def values(registry):
    return registry.with_defaults({})
