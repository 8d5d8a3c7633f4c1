"""The hinge objective of the project's own system, over all heads of a discriminator whose features are mostly frozen.

Hinge loss: Lim and Ye 2017 (arXiv 1705.02894), Miyato et al. 2018 (arXiv 1802.05957), equations 16 and 17. Pairs of a
picture and another picture's text: Reed et al. 2016 (arXiv 1605.05396), whose section 4.3 also has the captions
between two captions (GAN-INT).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from textbloom.models.base import Discriminator
from textbloom.training.objectives.base import Batch, Loss, Networks, Objective


@dataclass(frozen=True)
class Hinge(Objective):
    """Margins of the discriminator's logits; `objective` in params.yaml says what each weight does."""

    matching_aware: bool = True
    negatives_weight: float = 0.5
    conditioning_kl: float = 0.1
    mixed_captions: float = 0.5

    def discriminator(self, networks: Networks, batch: Batch) -> Loss:
        """real + w · (wrong + fake), of (picture, its text), (picture, another's text) and (generated, its text)."""
        d = networks.discriminator
        # One pass makes the pictures of both steps, unless the graphs of many micro-batches would have to be kept.
        keep = batch.micro_batches == 1
        with torch.set_grad_enabled(keep):
            captions, of_fakes = self._generated(networks, batch, batch.noise[0])
        if keep:
            batch.memo["generated"] = captions, of_fakes
        with torch.no_grad():
            of_real = d.frozen_features(batch.augment(batch.images))
        fake = margin(d, -d.score(d.learned_features([scale.detach() for scale in of_fakes]), d.project(captions)))
        text = d.project(batch.text)
        features = d.learned_features(of_real)
        terms = {"real": margin(d, d.score(features, text)), "fake": fake}
        if self.matching_aware and text is not None:
            terms["wrong"] = margin(d, -d.score(features, batch.mismatched(text)))
            return terms["real"] + self.negatives_weight * (terms["wrong"] + fake), terms
        return terms["real"] + self.negatives_weight * fake, terms

    def generator(self, networks: Networks, batch: Batch) -> Loss:
        """The generated pictures' mean logit, negative, and the divergence of the captions' conditioning."""
        d = networks.discriminator
        captions, of_fakes = batch.memo.pop("generated", None) or self._generated(networks, batch, batch.noise[1])
        adversarial = -mean(d, d.score(d.learned_features(of_fakes), d.project(captions)))
        kl = networks.generator.divergence(captions)
        return adversarial + self.conditioning_kl * kl, {"adversarial": adversarial, "kl": kl}

    def _generated(self, networks: Networks, batch: Batch, noise: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Captions [B, D] and the frozen features of pictures generated for them, with gradients to the generator."""
        captions = with_mixed(batch, self.mixed_captions)
        pictures = networks.generator(noise, captions)
        return captions, networks.discriminator.frozen_features(batch.augment(pictures))


def with_mixed(batch: Batch, share: float) -> Tensor:
    """The batch's captions [B, D], the last `share` of them in the middle between theirs and another picture's.

    The generator is so asked for captions that nobody wrote, of which there are far more than written ones.
    """
    kept = len(batch.text) - int(share * len(batch.text))
    middle = (batch.text + batch.mismatched(batch.text)) / 2
    return torch.cat([batch.text[:kept], middle[kept:]])


def margin(d: Discriminator, logits: Tensor) -> Tensor:
    """max(0, 1 - logit): nothing is left to learn from a logit that is above 1."""
    return mean(d, F.relu(1.0 - logits.float()))


def mean(d: Discriminator, values: Tensor) -> Tensor:
    """Mean over the pictures of one value for each logit, [B] or [B, L], as the discriminator weighs its logits."""
    weights = d.logit_weights
    return values.mean() if weights is None else (values * weights).sum(1).mean()
