"""The register of everything that may be changed. What is not in it cannot be changed."""

from __future__ import annotations

import difflib
from types import MappingProxyType
from typing import TYPE_CHECKING

from forge_core.capabilities.declaration import KEY_MOST, Capability, Order, Value
from forge_core.errors import Refused
from forge_core.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Registry:
    """An immutable set of declarations, found by key, and the orders between them."""

    __slots__ = ("_by_key", "_orders")

    def __init__(self, declarations: Iterable[Capability], orders: Iterable[Order] = ()) -> None:
        """Raise ``ValueError`` when two declarations claim one key, or an order names none."""
        by_key: dict[str, Capability] = {}
        for declared in declarations:
            if declared.key in by_key:
                raise ValueError(f"{declared.key} is declared twice")
            by_key[declared.key] = declared
        self._by_key = MappingProxyType(by_key)
        self._orders = tuple(orders)
        for named in {key for order in self._orders for key in (order.lower, order.upper)}:
            if named not in by_key:
                raise ValueError(f"an order names {named}, which is not declared")
        self.check_orders(self.with_defaults({}))

    @property
    def orders(self) -> tuple[Order, ...]:
        """The rules across keys."""
        return self._orders

    def check_orders(self, values: Mapping[str, Value]) -> None:
        """Raise ``Refused`` VALUES_CONTRADICT unless the values keep every order between keys."""
        for order in self._orders:
            order.check(values)

    def get(self, key: object) -> Capability:
        """Return the declaration of ``key``. Raises ``Refused`` UNKNOWN_CAPABILITY."""
        found = self._by_key.get(key) if isinstance(key, str) else None
        if found is None:
            raise Refused("UNKNOWN_CAPABILITY", self._unknown(key))
        return found

    def with_defaults(self, stored: Mapping[str, Value]) -> dict[str, Value]:
        """Every key's present value: the stored one, else the declared default."""
        return {key: stored.get(key, declared.default) for key, declared in self._by_key.items()}

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[Capability]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def _unknown(self, key: object) -> str:
        near = []
        if isinstance(key, str) and len(key) <= KEY_MOST:
            near = difflib.get_close_matches(key, self._by_key, n=3)
        hint = (
            f"; did you mean {', '.join(near)}?" if near else "; nothing of that name is governed"
        )
        return f"no capability {shown(key)} is registered{hint}"
