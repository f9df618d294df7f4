"""The one name of an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.errors import Refused
from forge_core.immune.detectors.addresses import normalised


@pytest.mark.parametrize(
    ("given_address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
def test_names(given_address, name):
    assert normalised(given_address) == name


@given(st.ip_addresses(v=4))
def test_the_same_address_in_two_spellings_has_one_name(address):
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)

    assert normalised(str(mapped)) == normalised(str(address)) == str(IPv4Address(address))


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_whatever_the_last_64_bits_are_it_is_the_same(address, rest):
    other = IPv6Address(int(address) >> 64 << 64 | rest)
    if address.ipv4_mapped is None and other.ipv4_mapped is None:
        assert normalised(str(other)) == normalised(address.exploded)


@pytest.mark.parametrize(
    "wrong",
    ["", " ", "localhost", "192.0.2", "192.0.2.256", "192.0.2.7:80", "192.0.2.07", "fe80::1%eth0",
     "2001:db8::/64", "1" * 5_000, None, 7, b"192.0.2.7", ["192.0.2.7"], "192.0.2.7\0",
     "\uff11.2.3.4"],
)  # fmt: skip
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(Refused, match="ADDRESS_INVALID"):
        normalised(wrong)
