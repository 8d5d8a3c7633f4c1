"""The hinge objective of the project's own system, over all heads of a discriminator whose features are mostly frozen.

Hinge loss: Lim and Ye 2017 (arXiv 1705.02894), Miyato et al. 2018 (arXiv 1802.05957), equations 16 and 17. Pairs of a
picture and another picture's text: Reed et al. 2016 (arXiv 1605.05396), whose section 4.3 also has the captions
between two captions (GAN-INT). Their colours lie between those of two pictures, as mixup has it (Zhang et al. 2018,
arXiv 1710.09412). A caption that has what another says of the picture's middle is CutMix (Yun et al. 2019, arXiv
1905.04899) for captions. Of several noises the best counts: the variety loss of Gupta et al. 2018 (arXiv 1803.10892).
Two noises of a caption are kept apart, as in mode seeking (Mao et al. 2019, arXiv 1903.05628), in frozen features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from textbloom.models.base import MIDDLE, Discriminator, Generator
from textbloom.training.objectives.base import Batch, Loss, Networks, Objective

BOUND = 3  # largest input of the final tanh that is not penalised: beyond it the pixel glares and its gradient vanishes
APART = 0.8  # difference wanted of two noises of one caption, relative to that of real pictures of two captions
COARSE = 4  # pixels, side of the squares whose mean colours generated and real pictures shall share


class Generated(NamedTuple):
    """Pictures generated for a batch, [B, 3, S, S], and what the losses ask of them.

    captions: what they were made for, [B, D].
    excess: the mean square by which they go beyond BOUND before the tanh, a scalar.
    features: their frozen features; pictures, excess and features have gradients to the generator.
    others: without gradients, the frozen features of the same captions' pictures by other noises, for mode seeking.
    """

    captions: Tensor
    pictures: Tensor
    excess: Tensor
    features: list[Tensor]
    others: list[Tensor]


@dataclass(frozen=True)
class Hinge(Objective):
    """Margins of the discriminator's logits; `objective` in params.yaml says what each weight does."""

    matching_aware: bool = True
    negatives_weight: float = 0.5
    pixel_l1: float = 0.0
    variety: int = 1
    conditioning_kl: float = 0.1
    mixed_captions: float = 0.5
    cutmix: float = 0.0
    saturation: float = 0.0
    mode_seeking: float = 0.0

    def discriminator(self, networks: Networks, batch: Batch) -> Loss:
        """real + w · (wrong + fake), of (picture, its text), (picture, another's text) and (generated, its text)."""
        d = networks.discriminator
        # One pass makes the pictures of both steps, unless the graphs of many micro-batches would have to be kept.
        keep = batch.micro_batches == 1
        with torch.set_grad_enabled(keep):
            generated = self._generated(networks, batch, batch.noise[0])
        if keep:
            # The pictures are kept in any case: the gradient of the generator's last tanh is computed from them.
            batch.memo["generated"] = generated
        with torch.no_grad():
            of_real = d.frozen_features(batch.augment(batch.images))
            if self.mode_seeking:
                apart = [difference(scale, batch.mismatched(scale)).mean() for scale in of_real[:-1]]
                batch.memo["between captions"] = [batch.mean(value) for value in apart]
        of_fakes = [scale.detach() for scale in generated.features]
        fake = margin(d, -d.score(d.learned_features(of_fakes), d.project(generated.captions)))
        text = d.project(batch.text)
        features = d.learned_features(of_real)
        terms = {"real": margin(d, d.score(features, text)), "fake": fake}
        if self.matching_aware and text is not None:
            terms["wrong"] = margin(d, -d.score(features, batch.mismatched(text)))
            return terms["real"] + self.negatives_weight * (terms["wrong"] + fake), terms
        return terms["real"] + self.negatives_weight * fake, terms

    def generator(self, networks: Networks, batch: Batch) -> Loss:
        """The generated pictures' mean logit, negative, with the captions' divergence and the distance of colours.

        The colours are those of the captions' own pictures, in squares of COARSE pixels: what is smaller, and so every
        edge, is left to the discriminator. Frozen features hardly see colours, and not which part has them.
        """
        d = networks.discriminator
        generated = batch.memo.pop("generated", None) or self._generated(networks, batch, batch.noise[1])
        adversarial = -mean(d, d.score(d.learned_features(generated.features), d.project(generated.captions)))
        kl = networks.generator.divergence(generated.captions)
        loss, terms = adversarial + self.conditioning_kl * kl, {"adversarial": adversarial, "kl": kl}
        if self.pixel_l1:
            terms["pixels"] = difference(coarse(generated.pictures), self._wanted(batch)).mean()
            loss = loss + self.pixel_l1 * terms["pixels"]
        if self.saturation:
            terms["saturation"] = generated.excess
            loss = loss + self.saturation * generated.excess
        if self.mode_seeking:
            terms["mode_seeking"] = alike(generated, batch.memo.pop("between captions"))
            loss = loss + self.mode_seeking * terms["mode_seeking"]
        return loss, terms

    def _generated(self, networks: Networks, batch: Batch, noise: Tensor) -> Generated:
        generator, d = networks.generator, networks.discriminator
        captions = self._composed(batch.text, batch, generator.with_middle)
        if self.variety > 1:
            noise, farthest = self._nearest(generator, captions, noise, batch)
        excess = noise.new_zeros(())
        if self.saturation:
            values = generator.before_tanh(noise, captions).float()
            pictures, excess = torch.tanh(values), F.relu(values.abs() - BOUND).square().mean()
        else:
            pictures = generator(noise, captions)
        if not self.mode_seeking:
            return Generated(captions, pictures, excess, d.frozen_features(batch.augment(pictures)), [])
        # As the channels of one picture the two are moved alike; else moving them would set them apart.
        seen, other = batch.augment(torch.cat([pictures, farthest], dim=1)).chunk(2, dim=1)
        with torch.no_grad():
            others = d.frozen_features(other)
        return Generated(captions, pictures, excess, d.frozen_features(seen), others)

    @torch.no_grad()
    def _nearest(self, generator: Generator, captions: Tensor, noise: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of `variety` noises for each caption the one whose picture is nearest in colours to its own.

        Returns these noises, [B, Z], and the pictures that are farthest, [B, 3, S, S].

        A pixel loss would ask all noises of a caption for one picture; so it asks only one of them. The noises that are
        tried hold the same numbers, moved on: other vectors, and no more chance than the batch brings.
        """
        tried, wanted = torch.stack([noise.roll(shift, dims=1) for shift in range(self.variety)]), self._wanted(batch)
        drawn = torch.stack([generator(each, captions) for each in tried])
        off = torch.stack([difference(coarse(pictures), wanted) for pictures in drawn])
        rows = torch.arange(len(noise), device=noise.device)
        return tried[off.argmin(0), rows], drawn[off.argmax(0), rows]

    def _wanted(self, batch: Batch) -> Tensor:
        """The coarse colours that pictures of the batch's captions shall have, those of the captions' own pictures."""
        return self._composed(coarse(batch.images), batch, with_middle)

    def _composed(self, rows: Tensor, batch: Batch, compose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Rows [B, …] of the batch's captions or pictures, some of them made of two.

        The first share `cutmix` has the middle of another, by `compose`; the last share `mixed_captions` lies halfway
        to another. The generator is so asked for captions that nobody wrote, of which there are far more than written
        ones, and does not learn which colours came together by chance.
        """
        others = batch.mismatched(rows)
        cut, mixed = int(self.cutmix * len(rows)), int(self.mixed_captions * len(rows))
        composed = [compose(rows[:cut], others[:cut])] if cut else []
        kept = len(rows) - mixed
        return torch.cat([*composed, rows[cut:kept], (rows[kept:] + others[kept:]) / 2])


def coarse(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, S, S] to the mean colours of their squares, [B, 3, S / COARSE, S / COARSE]."""
    return F.avg_pool2d(pictures.float(), COARSE)


def alike(generated: Generated, between_captions: list[Tensor]) -> Tensor:
    """By how much the two pictures of each caption are nearer to each other than APART, a scalar: 0 to APART.

    between_captions: for each scale the mean difference between real pictures of two captions, the unit of distance.
    The pictures themselves, the last scale, are left out: other colours alone would set them apart.
    """
    scales = zip(generated.features[:-1], generated.others[:-1], between_captions, strict=True)
    apart = torch.stack([difference(one, other) / between for one, other, between in scales])
    return F.relu(APART - apart).mean()


def difference(one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference [B] between pictures or feature maps [B, C, h, w]."""
    return (one.float() - other.float()).abs().mean((1, 2, 3))


def with_middle(pictures: Tensor, of: Tensor) -> Tensor:
    """Pictures [B, C, s, s] whose middle, a square of MIDDLE of the side, is that of the pictures `of`."""
    side = pictures.shape[-1]
    inside = slice(round(side * (1 - MIDDLE) / 2), round(side * (1 + MIDDLE) / 2))
    composed = pictures.clone()
    composed[:, :, inside, inside] = of[:, :, inside, inside]
    return composed


def margin(d: Discriminator, logits: Tensor) -> Tensor:
    """max(0, 1 - logit): nothing is left to learn from a logit that is above 1."""
    return mean(d, F.relu(1.0 - logits.float()))


def mean(d: Discriminator, values: Tensor) -> Tensor:
    """Mean over the pictures of one value for each logit, [B] or [B, L], as the discriminator weighs its logits."""
    weights = d.logit_weights
    return values.mean() if weights is None else (values * weights).sum(1).mean()
