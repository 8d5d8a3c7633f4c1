"""The averaged generator measured as training goes on, on captions that training does not see; its best epoch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from textbloom.core.errors import MORE_PICTURES, UserError
from textbloom.core.seeding import generator_for
from textbloom.dataset.prepared import Prepared

DECIDES = "kernel_distance"  # lower is better
COLUMNS = ("epoch", DECIDES, "precision", "recall")
MOST = 500  # pictures: twice as many would tell little more and cost as much again
LEAST = 20  # fewer tell no epoch from another


@dataclass(frozen=True)
class Validation:
    """How the averaged generator is measured.

    text: embeddings [n, D] of captions that training does not see.
    measure: pictures of them, uint8 [n, 3, S, S], to the values of COLUMNS by name.
    network: `name` and `sha256` of the weights through which they are seen.
    """

    text: Tensor
    measure: Callable[[Tensor], dict[str, float]]
    network: Mapping[str, str]


def choose(held_out: Prepared, seed: int) -> Prepared:
    """The pictures that are compared, at most MOST, by `seed`. Raises UserError where there are fewer than LEAST."""
    if len(held_out) < LEAST:
        raise UserError(
            f"train.evaluate_every: {len(held_out)} val pictures are too few to choose an epoch by, {LEAST} are the "
            f"least; {MORE_PICTURES}, or set it to null"
        )
    order = torch.randperm(len(held_out), generator=generator_for(seed, "validation pictures"))
    return held_out.subset(order[:MOST].sort().values)


def best(rows: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The measurement with the lowest value of DECIDES, the first of equals."""
    return min(rows, key=lambda row: row[DECIDES])


def table(rows: Sequence[Mapping[str, float]]) -> str:
    """A CSV of one row a measurement, six significant digits; without rows its header alone."""
    return pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, float_format="%.6g", lineterminator="\n")
