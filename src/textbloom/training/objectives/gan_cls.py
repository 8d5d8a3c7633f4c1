"""The matching-aware objective of GAN-CLS, with the terms that the three published systems add to it.

GAN-CLS: Reed et al. 2016 (arXiv 1605.05396), algorithm 1. Feature matching and one-sided label smoothing: Salimans et
al. 2016 (arXiv 1606.03498), sections 3.1 and 3.4. Conditioning augmentation's divergence: Zhang et al. 2017 (arXiv
1612.03242), equation 2. The combination and its weights are system A's (AI VIET NAM, 2023 and 2025).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from textbloom.training.objectives.base import Batch, Loss, Networks, Objective

# A discriminator whose cross-entropy is near zero teaches the generator nothing: "D loss goes to 0: failure mode"
# (Chintala et al. 2016, How to Train a GAN, 10), and with the saturating loss the gradient vanishes (Arjovsky and
# Bottou 2017, arXiv 1701.04862, theorem 2.4). At 0.05 nats it gives the right answers 95% on (geometric) average.
# Neither source gives a number: 0.05, and five epochs, which a lucky one cannot fill, are our choice.
WON_LOSS = 0.05
WON_EPOCHS = 5


@dataclass(frozen=True)
class GanCls(Objective):
    """Binary cross-entropies of the discriminator's logits; `objective` in params.yaml says what each weight does."""

    matching_aware: bool = True
    negatives_weight: float = 0.5
    saturating: bool = False
    feature_matching: float = 0.0
    pixel_l1: float = 0.0
    conditioning_kl: float = 0.0
    label_smoothing: float = 0.0

    def discriminator(self, networks: Networks, batch: Batch) -> Loss:
        """real + w · (wrong + fake): w = 0.5 in system A's slides, 1 in its hand-out.

        The terms judge (picture, its text), (another picture, text) and (generated picture, text). Label smoothing
        lowers the target of the first alone.
        """
        d = networks.discriminator
        with torch.no_grad():
            fakes = networks.generator(batch.noise[0], batch.text)
        text = d.project(batch.text)
        features = d.features(batch.augment(batch.images))
        wrong = None
        if self.matching_aware:
            # The wrong picture of each text is another one of the batch: its features are computed already, with the
            # batch statistics of the same real pictures.
            wrong = cross_entropy(d.score([batch.mismatched(scale) for scale in features], text), 0.0)
        real = cross_entropy(d.score(features, text), 1.0 - self.label_smoothing)
        fake = cross_entropy(d.score(d.features(batch.augment(fakes)), text), 0.0)
        if wrong is None:
            return real + self.negatives_weight * fake, {"real": real, "fake": fake}
        return real + self.negatives_weight * (wrong + fake), {"real": real, "wrong": wrong, "fake": fake}

    def generator(self, networks: Networks, batch: Batch) -> Loss:
        """The adversarial loss, and each further term that has a weight."""
        d = networks.discriminator
        fakes = networks.generator(batch.noise[1], batch.text)
        features = d.features(batch.augment(fakes))
        adversarial = adversarial_loss(d.score(features, d.project(batch.text)), self.saturating)
        loss, terms = adversarial, {"adversarial": adversarial}
        if self.feature_matching:
            with torch.no_grad():
                real_features = d.features(batch.augment(batch.images))
            terms["features"] = feature_matching(features, real_features, batch.mean)
            loss = loss + self.feature_matching * terms["features"]
        if self.pixel_l1:
            terms["pixels"] = F.l1_loss(fakes.float(), batch.images)
            loss = loss + self.pixel_l1 * terms["pixels"]
        if self.conditioning_kl:
            terms["kl"] = networks.generator.divergence(batch.text)
            loss = loss + self.conditioning_kl * terms["kl"]
        return loss, terms

    def warning(self, epochs: Sequence[Mapping[str, float]]) -> str | None:
        """The discriminator has won where its loss stayed near the least possible for WON_EPOCHS epochs in a row."""
        in_a_row = 0
        for number, epoch in enumerate(epochs, start=1):
            in_a_row = in_a_row + 1 if epoch["discriminator"] - self._least_loss < WON_LOSS else 0
            if in_a_row == WON_EPOCHS:
                return (
                    f"the discriminator has won by epoch {number}: its loss has been near zero for {WON_EPOCHS} "
                    "epochs, and the generator learns little from it; try objective.label_smoothing 0.1, fewer "
                    "model.features or a lower learning rate"
                )
        return None

    @property
    def _least_loss(self) -> float:
        """With smoothed labels the least possible loss is not zero but the entropy of the target, in nats."""
        shares = [share for share in (self.label_smoothing, 1.0 - self.label_smoothing) if share > 0]
        return -sum(share * math.log(share) for share in shares)


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Binary cross entropy of sigmoid(logits [B]) against one target in [0, 1]; a scalar, from logits for stability."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))  # bfloat16 has no 0.9 to smooth a label to
    return F.binary_cross_entropy_with_logits(wide, torch.full_like(wide, target))


def adversarial_loss(fake: Tensor, saturating: bool) -> Tensor:
    """The generator's adversarial loss on the logits [B] of its pictures, a scalar.

    −log D, or where `saturating` log(1 − D): the same fixed point, but next to no gradient while the discriminator wins
    (Goodfellow et al. 2014, section 3).
    """
    return -cross_entropy(fake, 0.0) if saturating else cross_entropy(fake, 1.0)


def feature_matching(
    fake: Sequence[Tensor], real: Sequence[Tensor], mean: Callable[[Tensor], Tensor] = lambda values: values
) -> Tensor:
    """Mean squared distance of the batch means of features [B, C, h, w], generated and real, summed over the scales.

    `mean` makes the mean over the global batch, [C, h, w], of this process's.
    """
    distances = [
        F.mse_loss(mean(of_fake.float().mean(dim=0)), mean(of_real.float().mean(dim=0)))
        for of_fake, of_real in zip(fake, real, strict=True)
    ]
    return torch.stack(distances).sum()
