"""The paper account: how many dollars a position gets."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

CENT = Decimal("0.01")


@dataclass(frozen=True)
class PaperAccount:
    """How much of a notional account a position gets. Nothing is borrowed from it: positions are sized one by one.

    A position that ends at its stop loses about `risk_per_position` of `equity`; none costs more than
    `largest_position` of it::

        notional = equity × min(largest_position, risk_per_position / (1 − stop_loss / entry_price))

    Shares are the notional over the entry price, rounded down to 0.0001 (fractional shares).

    Parameters
    ----------
    equity : Decimal
        Dollars.
    risk_per_position, largest_position : Decimal
        Shares of the equity, above 0 and at most 1.
    """

    equity: Decimal = Decimal(1_000_000)
    risk_per_position: Decimal = Decimal("0.0025")
    largest_position: Decimal = Decimal("0.02")

    def __post_init__(self) -> None:
        if self.equity <= 0:
            raise ValueError(f"the paper account's equity must be above 0 dollars, not {self.equity}")
        for name in ("risk_per_position", "largest_position"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share of the equity, above 0 and at most 1, not {getattr(self, name)}")

    def notional(self, entry_price: Decimal, stop_loss: Decimal) -> Decimal:
        """Dollars to spend on a position, to the cent; `stop_loss` below `entry_price`."""
        distance = 1 - stop_loss / entry_price
        share = min(self.largest_position, self.risk_per_position / distance)
        return (self.equity * share).quantize(CENT, ROUND_DOWN)
