"""How near generated pictures come to real ones, in three numbers quick enough for every few epochs of a training.

They look at pictures alone, through one small network: they tell a generator from what it was some epochs before. What
a generator is worth is what the measures of `metrics/` say, by a network that did not choose it.
"""

from collections.abc import Callable

from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from textbloom.features.extractor import Extractor


def nearness(extractor: Extractor, real: Tensor) -> Callable[[Tensor], dict[str, float]]:
    """A function from pictures uint8 [n, 3, S, S] to their values beside the pictures `real`, of the same shape.

    `kernel_distance`: squared maximum mean discrepancy under a cubic kernel (Bińkowski et al. 2018, arXiv 1801.01401,
    section 4), unbiased and of all pictures at once. `precision`, `recall`: Kynkäänniemi et al. 2019, arXiv 1904.06991,
    at three neighbours.
    """
    wanted = extractor(real, "val pictures").features

    def measure(pictures: Tensor) -> dict[str, float]:
        made = extractor(pictures, "generated pictures", hidden=True).features
        kernel = kid_features_to_metric(made, wanted, kid_subsets=1, kid_subset_size=len(wanted), verbose=False)
        manifold = prc_features_to_metric(made, wanted, prc_neighborhood=3, verbose=False)
        return {
            "kernel_distance": float(kernel[KEY_METRIC_KID_MEAN]),
            "precision": float(manifold[KEY_METRIC_PRECISION]),
            "recall": float(manifold[KEY_METRIC_RECALL]),
        }

    return measure
