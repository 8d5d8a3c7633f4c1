"""Zero-shot recognition and retrieval by text, on classes that training never saw.

The protocol of Reed et al., "Learning Deep Representations of Fine-grained Visual Descriptions", 2016, section 5: a
class is the mean embedding of its captions, and a picture's score for it their inner product.
"""

import torch
from torch import Tensor

from textbloom.text.joint_embedding import compatibility

CUTOFFS = (1, 5, 10, 50)  # K of AP@K


def class_means(vectors: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of each class's vectors.

    vectors: [R, D]; classes: int64 [R]. Returns the distinct classes [C], ascending, and their means [C, D].
    """
    distinct, index = classes.unique(return_inverse=True)
    sums = vectors.new_zeros(len(distinct), vectors.shape[1]).index_add_(0, index, vectors)
    return distinct, sums / index.bincount()[:, None]


def top1(scores: Tensor, classes: Tensor) -> float:
    """Share of a class's pictures whose best class is their own, averaged over the classes that have pictures.

    scores: [P, C] of each picture for each class; classes: the column of each picture's own class, int64 [P].
    """
    hits = (scores.argmax(1) == classes).to(scores.dtype)
    return float(class_means(hits[:, None], classes)[1].mean())


def average_precision(scores: Tensor, classes: Tensor, k: int) -> float:
    """AP@K: the share of a class's own pictures among the K that its text ranks best, averaged over all C classes.

    Arguments as of `top1`; needs K <= P. A class of fewer than K pictures cannot reach 1.
    """
    best = scores.topk(k, dim=0).indices
    own = classes[best] == torch.arange(scores.shape[1], device=classes.device)
    return float(own.double().mean())


def measure(pictures: Tensor, picture_classes: Tensor, texts: Tensor, text_classes: Tensor) -> dict[str, float | int]:
    """`zero_shot_top1` and `ap_at_<K>` with their chance levels, and how many classes and pictures they are taken over.

    pictures: [P, D] in the space of texts [R, D]; the classes, int64 [P] and [R], must be the same set. An `ap_at_<K>`
    is absent where there are fewer than K pictures.
    """
    distinct, prototypes = class_means(texts, text_classes)
    assert torch.equal(distinct, picture_classes.unique())
    columns = torch.searchsorted(distinct, picture_classes)
    scores = compatibility(pictures, prototypes)
    cutoffs = [k for k in CUTOFFS if k <= len(pictures)]
    return {
        "zero_shot_top1": top1(scores, columns),
        "zero_shot_chance": 1 / len(distinct),
        **{f"ap_at_{k}": average_precision(scores, columns, k) for k in cutoffs},
        "n_classes": len(distinct),
        "n_pictures": len(pictures),
        "n_captions": len(texts),
    }
