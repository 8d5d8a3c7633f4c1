"""One training step: the discriminator's update, then the generator's, on a batch of pictures with their texts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textbloom.core.seeding import generator_for
from textbloom.models.interfaces import Discriminator, Generator
from textbloom.training import objectives
from textbloom.training.batch_norm import synchronise
from textbloom.training.ema import Ema
from textbloom.training.ranks import ALONE, Ranks

TERMS = ("discriminator", "generator", "d_real", "d_wrong", "d_fake", "g_fooling", "g_features", "g_pixels", "g_kl")


@dataclass(frozen=True)
class Recipe:
    """The knobs of a step; see `objective` and `train` in params.yaml."""

    seed: int
    matching_aware: bool
    negatives_weight: float
    saturating: bool
    feature_matching: float
    pixel_l1: float
    conditioning_kl: float
    label_smoothing: float
    lr: float
    lr_halving: int | None
    beta1: float
    beta2: float
    ema_decay: float
    autocast: torch.dtype | None
    accumulate: int = 1


class Trainer:
    """Networks, their optimizers and the generator's average, advanced a batch at a time.

    `step` counts finished steps; it alone decides the noise, so a restored trainer goes on exactly where it was.

    A batch is worked on in `recipe.accumulate` micro-batches, one after the other, and each by all of `ranks`. Each
    micro-batch has its own batch statistics, mean features and wrong pairs; gradients and losses are means over them.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        recipe: Recipe,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.generator = generator.to(device).to(memory_format=torch.channels_last).train()
        self.discriminator = discriminator.to(device).to(memory_format=torch.channels_last).train()
        for network in (self.generator, self.discriminator):
            ranks.share_from_first(network.state_dict().values())
            synchronise(network, ranks, device)
        self.recipe = recipe
        self.device = device
        self.ranks = ranks
        self.ema = Ema(self.generator, recipe.ema_decay)
        self.optimizer_g = self._adam(self.generator)
        self.optimizer_d = self._adam(self.discriminator)
        self.step = 0

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch (numbered from 0): halved every `lr_halving` epochs."""
        r = self.recipe
        rate = r.lr if r.lr_halving is None else r.lr * 0.5 ** (epoch // r.lr_halving)
        for optimizer in (self.optimizer_g, self.optimizer_d):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def advance(self, images: Tensor, text: Tensor) -> Tensor:
        """Update both networks once on pictures [B, 3, S, S] in [-1, 1] and text [B, D]: this rank's share of a batch.

        Returns the losses named in TERMS as one detached tensor on the device: reading it is the caller's choice,
        because it waits for the device.
        """
        noises = self._noise(2, len(images))
        d_losses = self._update(self.optimizer_d, self._discriminator_loss, images, text, noises[0])

        # The generator's loss goes through the discriminator but must leave no gradient on its weights.
        self.discriminator.requires_grad_(False)
        g_losses = self._update(self.optimizer_g, self._generator_loss, images, text, noises[1])
        self.discriminator.requires_grad_(True)

        self.ema.update(self.step)
        self.step += 1
        return self.ranks.mean(torch.cat([d_losses[:1], g_losses[:1], d_losses[1:], g_losses[1:]]))

    def _discriminator_loss(
        self, images: Tensor, text: Tensor, noise: Tensor
    ) -> tuple[Tensor, objectives.DiscriminatorTerms]:
        d, r = self.discriminator, self.recipe
        with torch.no_grad():
            fakes = self.generator(noise, text)
        projected = d.project(text)
        features = d.features(images)
        # The wrong picture of each text is its neighbour in the shuffled batch. The batch as a whole is the same set of
        # pictures, so batch norm sees the same statistics, and its features are those already computed, moved by one.
        wrong = d.score(self.ranks.neighbours(features), projected) if r.matching_aware else None
        terms = objectives.discriminator_terms(
            d.score(features, projected), wrong, d.score(d.features(fakes), projected), r.label_smoothing
        )
        return terms.total(r.negatives_weight), terms

    def _generator_loss(self, images: Tensor, text: Tensor, noise: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        d, r = self.discriminator, self.recipe
        fakes = self.generator(noise, text)
        features = d.features(fakes)
        fooling = objectives.fooling(d.score(features, d.project(text)), r.saturating)
        matching = pixels = divergence = fooling.new_zeros(())
        if r.feature_matching:
            with torch.no_grad():
                real_features = d.features(images)
            matching = objectives.feature_matching(features, real_features, self.ranks.mean)
        if r.pixel_l1:
            pixels = objectives.pixel_l1(fakes, images)
        if r.conditioning_kl:
            divergence = self.generator.divergence(text)
        total = fooling + r.feature_matching * matching + r.pixel_l1 * pixels + r.conditioning_kl * divergence
        return total, (fooling, matching, pixels, divergence)

    def _noise(self, draws: int, batch: int) -> Tensor:
        """Noise [draws, batch, Z] of this rank's share: drawn for the global batch, so the same for any `ranks`."""
        stream = generator_for(self.recipe.seed, "noise", self.step, self.device)
        everything = (draws, batch * self.ranks.world, self.generator.noise_dim)
        noise = torch.randn(everything, generator=stream, device=self.device)
        return self.ranks.share(noise, self.recipe.accumulate, dim=1)

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        r = self.recipe
        learning = [weights for weights in network.parameters() if weights.requires_grad]
        return torch.optim.Adam(learning, lr=r.lr, betas=(r.beta1, r.beta2), fused=True)

    def _update(
        self,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Iterable[Tensor]]],
        *batch: Tensor,
    ) -> Tensor:
        """One step of `optimizer`; returns the loss and its terms, means over the micro-batches."""
        count = self.recipe.accumulate
        losses = []
        optimizer.zero_grad(set_to_none=True)
        for images, text, noise in zip(*(rows.chunk(count) for rows in batch), strict=True):
            with torch.autocast(self.device.type, self.recipe.autocast, enabled=self.recipe.autocast is not None):
                loss, terms = loss_of(images, text, noise)
            (loss / count).backward()
            losses.append(torch.stack([loss, *terms]).detach().float())
        self.ranks.average_gradients(optimizer)
        optimizer.step()
        return torch.stack(losses).mean(dim=0)
