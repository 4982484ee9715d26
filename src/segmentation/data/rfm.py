"""Summarise the purchases of each customer: recency, frequency, monetary value and more.

A purchase is everything a customer buys on one day. A line with a negative amount or quantity is a
return. ``returns`` says how returns are treated:

- ``net``: they are subtracted from the amount paid, down to 0, and do not count as purchases;
- ``drop``: they are left out;
- ``keep``: every line is a purchase, whatever its sign.

A line with an amount of 0, such as a gift or a coupon, is a purchase. A customer with returns but
no purchase is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

RETURNS = ("net", "drop", "keep")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Purchases:
    """The lines of a purchase log.

    Attributes
    ----------
    ids
        One text per customer, sorted.
    customer
        (n,) position in `ids` of each line's customer.
    day
        (n,) days since 1970-01-01.
    amount
        (n,) amount paid; negative for returns.
    quantity
        (n,) number of items, negative for returns; None if the log has no quantities.
    """

    ids: pa.Array
    customer: Ints
    day: Ints
    amount: Floats
    quantity: Floats | None

    def where(self, mask: Mask) -> Purchases:
        """Return the lines for which `mask` is true; `ids` stay the same."""
        if mask.all():
            return self
        quantity = None if self.quantity is None else self.quantity[mask]
        return Purchases(self.ids, self.customer[mask], self.day[mask], self.amount[mask], quantity)

    @property
    def returned(self) -> Mask:
        """(n,) whether a line is a return."""
        if self.quantity is None:
            return self.amount < 0
        return (self.amount < 0) | (self.quantity < 0)


def summarise(log: Purchases, as_of: int, *, returns: str = "net") -> pd.DataFrame:
    """Summarise the purchases of each customer.

    Parameters
    ----------
    log
        Lines before `as_of`.
    as_of
        Reference day, in days since 1970-01-01.
    returns
        One of `RETURNS`.

    Returns
    -------
    DataFrame with one row for each customer with a purchase, in the order of `log.ids`:

    ``customer_id``;
    ``recency``: days from the last purchase to `as_of`;
    ``frequency``: number of purchases, that is of days with one;
    ``monetary``: total amount paid;
    ``average_basket``: monetary / frequency;
    ``tenure``: days from the first purchase to `as_of`;
    ``inter_purchase_days``: mean days between two purchases. For a customer with one purchase it is
    the tenure, the time without a second one so far: 0 days would make the rarest buyers look like
    the busiest;
    ``items``: total number of items bought, if the log has quantities.
    """
    if returns == "drop":
        log = log.where(~log.returned)
    bought = log if returns == "keep" else log.where(~log.returned)
    # One number per customer and day: sorting puts a customer's purchases together, by date.
    base = int(bought.day.min(initial=as_of))
    span = as_of - base + 1
    visits = np.sort(bought.customer * span + (bought.day - base))
    # Not np.unique: its hash table takes ten times as long on 1e7 lines.
    visits = visits[np.diff(visits, prepend=-1) > 0]
    customer, day = np.divmod(visits, span)
    day += base
    frequency = np.bincount(customer, minlength=len(log.ids))
    present = np.flatnonzero(frequency)
    frequency = frequency[present]
    last = np.cumsum(frequency) - 1
    first_day, last_day = day[last - frequency + 1], day[last]

    def total(values: Floats) -> Floats:
        sums = np.bincount(log.customer, weights=values, minlength=len(log.ids))
        of_present: Floats = sums[present].astype(np.float64)
        return of_present.clip(min=0.0) if returns == "net" else of_present

    monetary, tenure = total(log.amount), as_of - first_day
    gaps = (last_day - first_day) / np.maximum(frequency - 1, 1)
    table = {
        "customer_id": log.ids.take(pa.array(present)).to_pandas(),
        "recency": as_of - last_day,
        "frequency": frequency,
        "monetary": monetary,
        "average_basket": monetary / frequency,
        "tenure": tenure,
        "inter_purchase_days": np.where(frequency > 1, gaps, tenure),
    }
    if log.quantity is not None:
        table["items"] = total(log.quantity)
    return pd.DataFrame(table)
