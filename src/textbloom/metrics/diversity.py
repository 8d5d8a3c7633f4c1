"""How unlike the pictures of one caption are: the variety that a generator makes of its noise.

Fidelity does not see it. A generator that ignores its noise paints one picture for each caption; as captions differ,
its pictures are still many, and its distance to real pictures may be small.
"""

import torch
from torch import Tensor
from torch.nn import functional

from textbloom.core import runtime
from textbloom.features import efficientnet
from textbloom.metrics.base import Estimate, Evaluation, Values

CAPTIONS = 50  # that are drawn several times
DRAWS = 4  # pictures of each of them
NETWORK = "efficientnet-lite2"  # that compares place by place
SHA256 = efficientnet.VARIANTS[NETWORK].sha256
_SIDE = 128  # pixels to which pictures are resized for it
_BATCH = 16


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
    """`perceptual_diversity`: the same by a distance that compares place by place, `perceptual_vectors`.

    It is absent where the generator learned from the network of that distance.
    """
    if SHA256 in evaluation.learned_from:
        return {}
    real = evaluation.real
    chosen, places = evaluation.alike.unique(return_inverse=True)
    pictures, others = real.split.pictures.images, real.split.others.images
    own, other = chosen[chosen < len(pictures)], chosen[chosen >= len(pictures)] - len(pictures)
    seen = perceptual_vectors(torch.cat([pictures[own], others[other]]))
    drawn = perceptual_vectors(evaluation.drawn.flatten(0, 1)).unflatten(0, evaluation.drawn.shape[:2])
    return {"perceptual_diversity": _ratio(squared_spread(drawn), squared_spread(seen[places]))}


@torch.inference_mode()
def perceptual_vectors(images: Tensor) -> Tensor:
    """Pictures uint8 [N, 3, S, S] to vectors float32 [N, P], whose squared Euclidean distances are the pictures'.

    They say how unlike two pictures look place by place, which the mean of a network's features over a picture cannot
    see. The distance is that of LPIPS (Zhang et al. 2018, arXiv 1801.03924, equation 1) with every channel of weight 1,
    on a network whose weights are at hand: at each of four scales the channels at a place are brought to length 1, and
    the squared differences of two pictures are averaged over the places and added up over the scales.
    """
    device = runtime.device()
    network = efficientnet.scales(NETWORK)[0].to(device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return torch.cat(
            [_flat(network(efficientnet.prepare(batch.to(device), _SIDE))).cpu() for batch in images.split(_BATCH)]
        )


def _flat(scales: list[Tensor]) -> Tensor:
    parts = [functional.normalize(maps, dim=1) / maps[0, 0].numel() ** 0.5 for maps in scales]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


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
