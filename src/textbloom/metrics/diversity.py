"""How unlike the pictures of one caption are: the variety that a generator makes of its noise.

Fidelity does not see it. A generator that ignores its noise paints one picture for each caption; as captions differ,
its pictures are still many, and its distance to real pictures may be small.
"""

import torch
from torch import Tensor
from torch.nn import functional

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
    generated = spread(evaluation.draws)
    features = torch.cat([real.features.features, real.other_features.features])
    texts = torch.cat([real.texts, real.other_texts])
    alike = nearest_captions(texts, real.rows[evaluation.drawn_again], evaluation.draws.shape[1])
    natural = spread(features[alike])

    def ratio(places: Tensor) -> float:
        return float(generated[places].mean() / natural[places].mean())

    return {"diversity": Estimate(ratio(torch.arange(len(natural))), ratio, len(natural), repeats=True)}


def spread(features: Tensor) -> Tensor:
    """Mean Euclidean distance between any two of K pictures, [C] for features [C, K, F] of C captions; K ≥ 2."""
    count = features.shape[1]
    distances = torch.cdist(features.double(), features.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return distances.sum((1, 2)) / (count * (count - 1))


def nearest_captions(texts: Tensor, rows: Tensor, count: int) -> Tensor:
    """The `count` pictures whose captions are nearest in angle to those of `rows`, int64 [C, count], a row's own first.

    `texts`: embeddings of all captions, [N, D].
    """
    unit = functional.normalize(texts, dim=1)
    similarity = unit[rows] @ unit.T
    similarity.scatter_(1, rows[:, None], float("inf"))  # also before a caption of the same words
    return similarity.topk(count, dim=1).indices
