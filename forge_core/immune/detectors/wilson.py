"""Wilson's interval: between which bounds a rate lies, given so many of so many.

E. B. Wilson, JASA 22 (1927) 209-212, at 95 % (z = 1.96). Comparisons are exact; only what people
read is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Final

Z: Final = Fraction(196, 100)
_PLACES: Final = Decimal("0.0001")


@dataclass(frozen=True)
class Wilson:
    """The interval for ``part`` of ``whole``; a whole of 0 is from 0 to 1.

    Its bounds are ``middle ± sqrt(spread)``, which are not rational: so they are compared, never
    computed.
    """

    part: int
    whole: int

    def __post_init__(self) -> None:
        if not 0 <= self.part <= self.whole:
            message = f"{self.part} of {self.whole} is no share"
            raise ValueError(message)

    @property
    def _middle(self) -> Fraction:
        return Fraction(self.part + Z * Z / 2) / (self.whole + Z * Z)

    @property
    def _spread(self) -> Fraction:
        """The square of half the interval's width."""
        if self.whole == 0:
            return Fraction(1, 4)
        rest = Fraction(self.part * (self.whole - self.part), self.whole)
        return Z * Z * (rest + Z * Z / 4) / (self.whole + Z * Z) ** 2

    def is_below(self, rate: Fraction) -> bool:
        """Whether the upper bound is less than ``rate``."""
        room = rate - self._middle
        return room > 0 and self._spread < room * room

    def is_above(self, rate: Fraction) -> bool:
        """Whether the lower bound is more than ``rate``."""
        room = self._middle - rate
        return room > 0 and self._spread < room * room

    def shown(self) -> tuple[str, str]:
        """Both bounds for people, to four places, within 0 and 1."""
        with localcontext(prec=50):
            middle, spread = _decimal(self._middle), _decimal(self._spread).sqrt()
            low, high = max(middle - spread, Decimal(0)), min(middle + spread, Decimal(1))
        return str(_rounded(low)), str(_rounded(high))


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_PLACES, rounding=ROUND_HALF_EVEN)
