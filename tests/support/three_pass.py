"""System A's losses as the hand-out has them: every pair through the discriminator by itself, sigmoids, entropies."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from textbloom.training.objectives.base import Networks
from textbloom.training.objectives.gan_cls import GanCls


def three_pass_losses(
    pair: Networks, weights: GanCls, images: Tensor, text: Tensor, noise: Tensor
) -> tuple[Tensor, Callable[[], Tensor]]:
    """The discriminator's loss, and a function to the generator's, for what came in between to have its effect."""
    generator, discriminator = pair.generator, pair.discriminator
    bce, ones = nn.BCELoss(), torch.ones(len(images))

    def judge(pictures: Tensor) -> tuple[Tensor, Tensor]:
        logits, (features,) = discriminator(pictures, text)
        return torch.sigmoid(logits), features

    real = bce(judge(images)[0], ones * (1 - weights.label_smoothing))
    wrong = bce(judge(images.roll(1, dims=0))[0], ones * 0) if weights.matching_aware else torch.zeros(())
    fake = bce(judge(generator(noise[0], text).detach())[0], ones * 0)
    d_loss = real + weights.negatives_weight * (wrong + fake)

    def g_loss() -> Tensor:
        pictures = generator(noise[1], text)
        output, features = judge(pictures)
        real_features = judge(images)[1].detach()
        matching = ((features.mean(0) - real_features.mean(0)) ** 2).mean()
        pixels = (pictures - images).abs().mean()
        loss: Tensor = bce(output, ones) + weights.feature_matching * matching + weights.pixel_l1 * pixels
        return loss

    return d_loss, g_loss
