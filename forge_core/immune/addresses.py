"""Addresses as they are counted and blocked: what one stranger can change at will is one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from forge_core.errors import Refused
from forge_core.text import shown

PREFIX: Final = 64
"""Whoever has one IPv6 address usually has all that share its first 64 bits."""
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


def _invalid(address: object) -> Refused:
    return Refused("ADDRESS_INVALID", f"{shown(address)} is no IPv4 or IPv6 address")
