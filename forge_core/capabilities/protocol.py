"""The protocol's parameters, with the seed's types, bounds and defaults."""

from __future__ import annotations

from typing import Final

from forge_core.capabilities.declaration import Capability, CapabilityClass, Order, ValueType

_SEED: Final[tuple[tuple[str, ValueType, int | str, int | str, int | str, str], ...]] = (
    ("difficulty", "integer", 4, 1, 10, "leading zeros that the hash of a block needs"),
    ("block_reward", "decimal", 12, 0, 50, "coins for whoever finds a block"),
    ("transaction_fee_percent", "decimal", "0.24", 0, 5, "fee of a transaction, in percent"),
    ("max_block_size", "integer", 1_000_000, 1_000, 10_000_000, "bytes that a block may have"),
    ("halving_interval", "integer", 262_800, 100_000, 1_000_000, "blocks until the reward halves"),
    ("airdrop_frequency", "integer", 100, 10, 1_000, "blocks from one airdrop to the next"),
    ("min_airdrop_amount", "decimal", 10, 1, 100, "fewest coins of an airdrop"),
    ("max_airdrop_amount", "decimal", 100, 10, 1_000, "most coins of an airdrop"),
)

CAPABILITIES: Final = tuple(
    Capability(
        key=key,
        klass=CapabilityClass.PROTOCOL,
        description=description,
        type=type_,
        default=default,
        least=least,
        most=most,
    )
    for key, type_, default, least, most, description in _SEED
)

ORDERS: Final = (Order("min_airdrop_amount", "max_airdrop_amount"),)
