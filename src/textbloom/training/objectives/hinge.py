"""The hinge objective of the project's own system, over all heads of a discriminator whose features are mostly frozen.

Hinge loss: Lim and Ye 2017 (arXiv 1705.02894), Miyato et al. 2018 (arXiv 1802.05957), equations 16 and 17. Pairs of a
picture and another picture's text: Reed et al. 2016 (arXiv 1605.05396), whose section 4.3 also has the captions
between two captions (GAN-INT). Their colours lie between those of two pictures, as mixup has it (Zhang et al. 2018,
arXiv 1710.09412). A caption that has what another says of the picture's middle is CutMix (Yun et al. 2019, arXiv
1905.04899) for captions. Of several noises the best counts: the variety loss of Gupta et al. 2018 (arXiv 1803.10892).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from textbloom.models.base import MIDDLE, Discriminator, Generator
from textbloom.training.objectives.base import Batch, Loss, Networks, Objective

BOUND = 3  # of what the generator's tanh takes, beyond which a pixel glares and tanh has no slope to bring it back
COARSE = 4  # pixels, side of the squares whose mean colours generated and real pictures shall share


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

    def discriminator(self, networks: Networks, batch: Batch) -> Loss:
        """real + w · (wrong + fake), of (picture, its text), (picture, another's text) and (generated, its text)."""
        d = networks.discriminator
        # One pass makes the pictures of both steps, unless the graphs of many micro-batches would have to be kept.
        keep = batch.micro_batches == 1
        with torch.set_grad_enabled(keep):
            captions, pictures, excess, of_fakes = self._generated(networks, batch, batch.noise[0])
        if keep:
            # The pictures are kept in any case: the gradient of the generator's last tanh is computed from them.
            batch.memo["generated"] = captions, pictures, excess, of_fakes
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
        """The generated pictures' mean logit, negative, with the captions' divergence and the distance of colours.

        The colours are those of the captions' own pictures, in squares of COARSE pixels: what is smaller, and so every
        edge, is left to the discriminator. Frozen features hardly see colours, and not which part has them.
        """
        d = networks.discriminator
        kept = batch.memo.pop("generated", None)
        captions, pictures, excess, of_fakes = kept or self._generated(networks, batch, batch.noise[1])
        adversarial = -mean(d, d.score(d.learned_features(of_fakes), d.project(captions)))
        kl = networks.generator.divergence(captions)
        loss, terms = adversarial + self.conditioning_kl * kl, {"adversarial": adversarial, "kl": kl}
        if self.pixel_l1:
            terms["pixels"] = distances(pictures, self._wanted(batch)).mean()
            loss = loss + self.pixel_l1 * terms["pixels"]
        if self.saturation:
            terms["saturation"] = excess
            loss = loss + self.saturation * excess
        return loss, terms

    def _generated(
        self, networks: Networks, batch: Batch, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Captions [B, D], pictures generated for them, how far beyond BOUND these are, and their frozen features.

        Pictures, excess (a scalar) and features have gradients to the generator.
        """
        generator = networks.generator
        captions = self._composed(batch.text, batch, generator.with_middle)
        if self.variety > 1:
            noise = self._nearest(generator, captions, noise, batch)
        excess = noise.new_zeros(())
        if self.saturation:
            values = generator.before_tanh(noise, captions).float()
            pictures, excess = torch.tanh(values), F.relu(values.abs() - BOUND).square().mean()
        else:
            pictures = generator(noise, captions)
        return captions, pictures, excess, networks.discriminator.frozen_features(batch.augment(pictures))

    @torch.no_grad()
    def _nearest(self, generator: Generator, captions: Tensor, noise: Tensor, batch: Batch) -> Tensor:
        """Of `variety` noises for each caption the one whose picture is nearest in colours to its own, [B, Z].

        A pixel loss would ask all noises of a caption for one picture; so it asks only one of them. The noises that are
        tried hold the same numbers, moved on: other vectors, and no more chance than the batch brings.
        """
        tried, wanted = torch.stack([noise.roll(shift, dims=1) for shift in range(self.variety)]), self._wanted(batch)
        off = torch.stack([distances(generator(each, captions), wanted) for each in tried])
        return tried[off.argmin(0), torch.arange(len(noise), device=noise.device)]

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


def distances(pictures: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference [B] between the coarse colours of pictures and `wanted` ones."""
    return (coarse(pictures) - wanted).abs().mean((1, 2, 3))


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
