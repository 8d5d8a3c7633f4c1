"""The losses, each a small pure function on logits, features or pictures.

GAN-CLS: Reed et al. 2016 (arXiv 1605.05396), algorithm 1. Feature matching: Salimans et al. 2016 (arXiv 1606.03498),
section 3.1. The combination and its weights are system A's (AI VIET NAM, 2023 and 2025).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Binary cross entropy of sigmoid(logits [B]) against one target in [0, 1]; a scalar, from logits for stability."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))  # bfloat16 has no 0.9 to smooth a label to
    return F.binary_cross_entropy_with_logits(wide, torch.full_like(wide, target))


class DiscriminatorTerms(NamedTuple):
    """Unweighted terms of the discriminator's loss; `wrong` is zero where no wrong pair is judged."""

    real: Tensor
    wrong: Tensor
    fake: Tensor

    def total(self, negatives_weight: float) -> Tensor:
        """real + w · (wrong + fake): w = 0.5 in the slides, 1 in the hand-out."""
        return self.real + negatives_weight * (self.wrong + self.fake)


def discriminator_terms(real: Tensor, wrong: Tensor | None, fake: Tensor, label_smoothing: float) -> DiscriminatorTerms:
    """Logits [B] of (picture, its text), (another picture, text) and (generated picture, text) to the three terms.

    `label_smoothing` lowers the real target alone (one-sided: Salimans et al. 2016, section 3.4).
    """
    return DiscriminatorTerms(
        real=cross_entropy(real, 1.0 - label_smoothing),
        wrong=real.new_zeros(()) if wrong is None else cross_entropy(wrong, 0.0),
        fake=cross_entropy(fake, 0.0),
    )


def fooling(fake: Tensor, saturating: bool) -> Tensor:
    """The generator's adversarial loss on the logits [B] of its pictures, a scalar to be made small.

    −log D, or where `saturating` log(1 − D): the same fixed point, but next to no gradient while D wins (Goodfellow et
    al. 2014, section 3).
    """
    return -cross_entropy(fake, 0.0) if saturating else cross_entropy(fake, 1.0)


def feature_matching(fake: Tensor, real: Tensor, over_all: Callable[[Tensor], Tensor] = lambda mean: mean) -> Tensor:
    """Mean squared distance between the batch means of features [B, C, H, W] of generated and real pictures.

    `over_all` makes the mean over the global batch [C, H, W] of the mean over this process's share of it.
    """
    return F.mse_loss(over_all(fake.float().mean(dim=0)), over_all(real.float().mean(dim=0)))


def pixel_l1(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of generated pictures [B, 3, S, S] and the pictures that their captions belong to."""
    return F.l1_loss(fake.float(), real)
