"""How unlike the pictures of one caption are: the variety that a generator makes of its noise.

Fidelity does not see it. A generator that ignores its noise paints one picture for each caption; as captions differ,
its pictures are still many, and its distance to real pictures may be small.
"""

import torch
from torch import Tensor

from textbloom.features import perceptual
from textbloom.metrics.evaluation import Estimate, Evaluation, Values

CAPTIONS = 50  # that are drawn several times
DRAWS = 4  # pictures of each of them


def measure(evaluation: Evaluation) -> Values:
    """`diversity`: the mean distance between a caption's generated pictures, over that between real ones.

    The real ones are the caption's own picture and those whose captions are nearest to it, as many as were drawn. 1 is
    real variety, 0 one picture a caption. The nearest captions are not the same caption, so that the real side holds
    some variety of captions too: a good generator may stay below 1.
    """
    real = evaluation.real
    features = torch.cat([real.features.features, real.other_features.features])
    return {"diversity": _ratio(spread(evaluation.draws), spread(features[evaluation.alike]))}


def measure_perceptual(evaluation: Evaluation) -> Values:
    """`perceptual_diversity`: the same by a distance that compares place by place, `features.perceptual`.

    It is absent where the generator learned from the network of that distance.
    """
    if perceptual.SHA256 in evaluation.learned_from:
        return {}
    real = evaluation.real
    chosen, places = evaluation.alike.unique(return_inverse=True)
    pictures, others = real.split.pictures.images, real.split.others.images
    own, other = chosen[chosen < len(pictures)], chosen[chosen >= len(pictures)] - len(pictures)
    seen = perceptual.vectors(torch.cat([pictures[own], others[other]]))
    drawn = perceptual.vectors(evaluation.drawn.flatten(0, 1)).unflatten(0, evaluation.drawn.shape[:2])
    return {"perceptual_diversity": _ratio(squared_spread(drawn), squared_spread(seen[places]))}


def _ratio(generated: Tensor, natural: Tensor) -> Estimate:
    def ratio(places: Tensor) -> float:
        return float(generated[places].mean() / natural[places].mean())

    return Estimate(ratio(torch.arange(len(natural))), ratio, len(natural), repeats=True)


def spread(features: Tensor) -> Tensor:
    """Mean Euclidean distance between any two of K pictures, [C] for features [C, K, F] of C captions; K ≥ 2."""
    count = features.shape[1]
    distances = torch.cdist(features.double(), features.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return distances.sum((1, 2)) / (count * (count - 1))


def squared_spread(vectors: Tensor) -> Tensor:
    """Mean squared Euclidean distance between any two of K pictures, [C] for vectors [C, K, P] of C captions; K ≥ 2.

    It is twice the variance, summed over the vectors' numbers.
    """
    return 2 * vectors.double().var(dim=1).sum(-1)
