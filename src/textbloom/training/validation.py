"""The averaged generator measured as training goes on, on captions that training does not see; its best epoch.

Three numbers quick enough for every few epochs, through one small network: they tell a generator from what it was some
epochs before. What it is worth is what `metrics/` says, by a network that did not choose it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from textbloom.core.errors import MORE_PICTURES, UserError
from textbloom.core.seeding import random_subset
from textbloom.dataset.prepared import Prepared

DECIDES = "kernel_distance"  # lower is better
COLUMNS = ("epoch", DECIDES, "precision", "recall")
MOST = 500  # pictures: twice as many would tell little more and cost as much again
LEAST = 20  # fewer tell no epoch from another


@dataclass(frozen=True)
class Validation:
    """How the averaged generator is measured.

    text: embeddings [n, D] of captions that training does not see.
    features: of pictures uint8 [n, 3, S, S], float [n, F].
    real: those of the captions' own pictures.
    network: `name` and `sha256` of the weights that give the features.
    """

    text: Tensor
    features: Callable[[Tensor], Tensor]
    real: Tensor
    network: Mapping[str, str]

    def measure(self, pictures: Tensor) -> dict[str, float]:
        """The values of generated pictures uint8 [n, 3, S, S] by name.

        `kernel_distance`: squared maximum mean discrepancy under a cubic kernel (Bińkowski et al. 2018, arXiv
        1801.01401, section 4), unbiased and of all pictures at once. `precision`, `recall`: Kynkäänniemi et al. 2019,
        arXiv 1904.06991, at three neighbours.
        """
        made, real = self.features(pictures), self.real
        kernel = kid_features_to_metric(made, real, kid_subsets=1, kid_subset_size=len(real), verbose=False)
        manifold = prc_features_to_metric(made, real, prc_neighborhood=3, verbose=False)
        return {
            "kernel_distance": float(kernel[KEY_METRIC_KID_MEAN]),
            "precision": float(manifold[KEY_METRIC_PRECISION]),
            "recall": float(manifold[KEY_METRIC_RECALL]),
        }


def choose(held_out: Prepared, seed: int) -> Prepared:
    """The pictures that are compared, at most MOST, by `seed`. Raises UserError where there are fewer than LEAST."""
    if len(held_out) < LEAST:
        raise UserError(
            f"train.evaluate_every: {len(held_out)} val pictures are too few to choose an epoch by, {LEAST} are the "
            f"least; {MORE_PICTURES}, or set it to null"
        )
    return held_out.subset(random_subset(len(held_out), MOST, seed, "validation pictures").sort().values)


def best(rows: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The measurement with the lowest value of DECIDES, the first of equals."""
    return min(rows, key=lambda row: row[DECIDES])


def table(rows: Sequence[Mapping[str, float]]) -> str:
    """A CSV of one row a measurement, six significant digits; without rows its header alone."""
    return pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, float_format="%.6g", lineterminator="\n")
