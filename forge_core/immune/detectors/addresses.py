"""Addresses as they are counted and blocked: what one stranger can change at will is one."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from forge_core.errors import Refused
from forge_core.text import shown

PREFIX: Final = 64
"""Whoever has one IPv6 address usually has all that share its first 64 bits."""
_MAPPED: Final = 96
"""So many bits of an IPv6 address say that the rest is an IPv4 one."""
_LONGEST: Final = 45


def normalised(address: object) -> str:
    """The one name of an address: IPv4 as it is, also mapped into IPv6; of IPv6 its /64 network.

    Raises ``Refused`` ADDRESS_INVALID; a name of a host, a zone (``%eth0``) or a port is none.
    """
    if not isinstance(address, str) or len(address) > _LONGEST or "%" in address:
        raise _invalid(address)
    try:
        parsed = ip_address(address)
    except ValueError as error:
        raise _invalid(address) from error
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((parsed, PREFIX), strict=False))


class Network:
    """A network of addresses as they are counted: an IPv6 one is at least a /64."""

    def __init__(self, network: str) -> None:
        self._network = parse_network(network)

    def holds(self, address: str) -> bool:
        """Whether a `normalised` address is in it."""
        counted = ip_network(address)
        within = self._network
        if isinstance(counted, IPv4Network) and isinstance(within, IPv4Network):
            return counted.subnet_of(within)
        if isinstance(counted, IPv6Network) and isinstance(within, IPv6Network):
            return counted.subnet_of(within)
        return False


def parse_network(network: object) -> IPv4Network | IPv6Network:
    """An address or a network in CIDR notation. Raises ``Refused`` ADDRESS_INVALID."""
    if not isinstance(network, str) or len(network) > _LONGEST + 4 or "%" in network:
        raise _invalid(network)
    try:
        parsed = ip_network(network)
    except ValueError as error:
        raise _invalid(network) from error
    mapped = isinstance(parsed, IPv6Network) and parsed.network_address.ipv4_mapped
    if mapped and parsed.prefixlen >= _MAPPED:
        return IPv4Network((mapped, parsed.prefixlen - _MAPPED))
    if isinstance(parsed, IPv6Network) and parsed.prefixlen > PREFIX:
        return parsed.supernet(new_prefix=PREFIX)
    return parsed


def _invalid(address: object) -> Refused:
    return Refused("ADDRESS_INVALID", f"{shown(address)} is no IPv4 or IPv6 address")
