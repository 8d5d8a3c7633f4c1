"""Whether a generator copies its training pictures: how near generated pictures lie to them, beside real new ones.

Pictures that are nothing like flowers are far from every training picture and seem to copy nothing: read it where
precision is not 0.
"""

import torch
from torch import Tensor

from textbloom.metrics.base import Evaluation, Values, mean_of

RARELY = 0.05  # share of real new pictures that are nearer than the limit
_AT_ONCE = 1024
STEPS = 100  # of the curves that plots/memorisation.png shows


def measure(evaluation: Evaluation) -> Values:
    """`memorisation`: the share of generated pictures nearer to a training picture than 95% of the real ones are.

    The real ones are those that are compared, none of them a training picture. They would score 0.05 themselves, by
    definition; a generator that copies scores higher, one that is far from all flowers lower. `nearest_training` is
    the median distance, `nearest_training_real` that of the real pictures.
    """
    fake, real = distances(evaluation)
    limit = real.quantile(RARELY)
    return {
        "memorisation": mean_of(fake < limit),
        "nearest_training": float(fake.median()),
        "nearest_training_real": float(real.median()),
    }


def distances(evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    """Of each generated and each real picture the distance to the nearest training picture in features, [n] each.

    Where nothing was held out, the training pictures are the half that is not compared.
    """
    training = evaluation.real.other_features.features.double()
    return nearest(evaluation.features.features.double(), training), nearest(
        evaluation.real.compared.features.double(), training
    )


def nearest(features: Tensor, training: Tensor) -> Tensor:
    """The Euclidean distance from each of [n, F] to the nearest of [M, F], [n]."""
    least = [torch.cdist(features, part).min(1).values for part in training.split(_AT_ONCE)]
    return torch.stack(least).min(0).values


def curves(evaluation: Evaluation) -> dict[str, list[float]]:
    """The quantiles of both distances, for a plot: `quantile`, `generated`, `real`, STEPS + 1 numbers each."""
    fake, real = distances(evaluation)
    steps = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    return {
        "quantile": steps.tolist(),
        "generated": fake.quantile(steps).tolist(),
        "real": real.quantile(steps).tolist(),
    }
