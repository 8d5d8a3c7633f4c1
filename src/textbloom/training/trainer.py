"""One training step: the discriminator's update, then the generator's, on a batch of pictures with their texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textbloom.core import checkpoint
from textbloom.core.seeding import generator_for
from textbloom.training import augmentation
from textbloom.training.augmentation import Augmentation
from textbloom.training.distributed import ALONE, Ranks, synchronise_batch_norm
from textbloom.training.ema import Ema
from textbloom.training.objectives.base import Batch, Loss, Networks, Objective

_BEST = "best/"  # how the names of the best epoch's weights begin in a checkpoint


def learning_rate_factor(step: int, total_steps: int, halving_steps: int | None = None, cooldown: float = 0.0) -> float:
    """What the learning rate is multiplied by at a step, counted from 0.

    It is halved every `halving_steps`, and falls linearly towards 0 over the last share `cooldown` of all steps.
    """
    factor = 1.0 if halving_steps is None else 0.5 ** (step // halving_steps)
    left = (total_steps - step) / total_steps
    return factor * left / cooldown if left < cooldown else factor


class Trainer:
    """Networks, their optimizers and the generator's average, advanced a batch at a time.

    `step` counts finished steps; it alone decides the noise and the learning rate, so that a restored trainer goes on
    exactly where it was.

    A batch is worked on in `accumulate` micro-batches, one after the other, and each by all of `ranks`. Each
    micro-batch has its own batch statistics, mean features and wrong pairs; gradients and losses are means over them.
    """

    def __init__(
        self,
        networks: Networks,
        objective: Objective,
        optimizers: Mapping[str, Mapping[str, Any]],
        device: torch.device,
        ranks: Ranks = ALONE,
        *,
        seed: int,
        ema_half_life: float,
        schedule: Callable[[int], float] = lambda step: 1.0,
        autocast: torch.dtype | None = None,
        accumulate: int = 1,
        augment: Augmentation = augmentation.none,
    ) -> None:
        """
        Args:
            optimizers: Adam's settings for each network: {"generator": {"lr": …, "betas": …}, "discriminator": …}.
            seed: decides the noise and what is augmented how.
            ema_half_life: of the generator's average, in pictures.
            schedule: the step, from 0, to a factor of both learning rates.
            autocast: the type that both losses are computed in where autocast allows it; None: float32.
        """
        for network in (networks.generator, networks.discriminator):
            network.to(device).to(memory_format=torch.channels_last).train()
            ranks.share_from_first(network.state_dict().values())
            synchronise_batch_norm(network, ranks, device)
        self.networks = networks
        self.objective = objective
        self.device = device
        self.ranks = ranks
        self.accumulate = accumulate
        self.ema = Ema(networks.generator, ema_half_life)
        self.optimizers = {name: _adam(getattr(networks, name), settings) for name, settings in optimizers.items()}
        self.step = 0
        self._rates = {name: settings["lr"] for name, settings in optimizers.items()}
        self._schedule = schedule
        self._seed = seed
        self.autocast = autocast
        self._augment = augment

    def advance(self, images: Tensor, text: Tensor, wrong: Tensor) -> dict[str, Tensor]:
        """Update both networks once on pictures [B, 3, S, S] in [-1, 1] and text [B, D]: this rank's share of a batch.

        `wrong`, int64 [B], is the place in the global micro-batch of a picture that each text does not belong to.
        Returns `discriminator` and `generator`, the losses, and their terms as d_<name> and g_<name>: means over the
        global batch that stay on the device, because reading one waits for it.
        """
        self._set_learning_rates()
        batches = list(self._micro_batches(images, text, wrong))
        discriminator, d_terms = self._update("discriminator", self.objective.discriminator, batches)
        with _fixed(self.optimizers["discriminator"]):
            generator, g_terms = self._update("generator", self.objective.generator, batches)
        pictures = len(images) * self.ranks.world
        self.ema.update(self.step * pictures, pictures)
        self.step += 1
        losses = {"discriminator": discriminator, "generator": generator}
        losses |= {f"d_{name}": term for name, term in d_terms.items()}
        losses |= {f"g_{name}": term for name, term in g_terms.items()}
        means = self.ranks.mean(torch.stack(list(losses.values())))
        return dict(zip(losses, means.unbind(), strict=True))

    def modules(self) -> dict[str, nn.Module]:
        """All that has weights, by name."""
        of_system = self.networks
        return {"generator": of_system.generator, "discriminator": of_system.discriminator, "ema": self.ema.network}

    def save(self, path: Path, history: Mapping[str, Any], sheets: Tensor, best: Mapping[str, Tensor]) -> None:
        """Write a checkpoint: all that decides the rest of the run, and what it has given so far.

        That is the JSON-like `history`, the progress pictures (uint8) and the weights of the best epoch, if there is
        one. Of several ranks, whose states are the same, the first alone writes.
        """
        if self.ranks.first:
            notes = {"step": self.step, "history": history}
            others = {"sheets": sheets} | {f"{_BEST}{name}": weights for name, weights in best.items()}
            checkpoint.save(path, self.modules(), self.optimizers, notes, others)

    def restore(self, path: Path) -> tuple[dict[str, Any], Tensor, dict[str, Tensor]]:
        """Take the state that `save` wrote; returns (history, sheets, best). A missing file is a UserError."""
        notes, tensors = checkpoint.restore(path, self.modules(), self.optimizers)
        self.step = notes["step"]
        best = {name.removeprefix(_BEST): weights for name, weights in tensors.items() if name.startswith(_BEST)}
        return notes["history"], tensors["sheets"], best

    def _micro_batches(self, images: Tensor, text: Tensor, wrong: Tensor) -> Iterator[Batch]:
        # The noise is drawn for the global batch, so that it is the same for any number of ranks.
        stream = generator_for(self._seed, "noise", self.step, self.device)
        everything = (2, len(images) * self.ranks.world, self.networks.generator.noise_dim)
        noise = torch.randn(everything, generator=stream, device=self.device)
        noise = self.ranks.share(noise, self.accumulate, dim=1)
        chance = generator_for(self._seed + self.ranks.rank, "augmentation", self.step, self.device)

        def augment(pictures: Tensor) -> Tensor:
            return self._augment(pictures, chance)

        count = self.accumulate
        shares = zip(images.chunk(count), text.chunk(count), noise.chunk(count, 1), wrong.chunk(count), strict=True)
        for pictures, texts, draws, places in shares:
            mismatched = partial(self.ranks.pick, places=places)
            yield Batch(pictures, texts, draws, augment, mismatched, self.ranks.mean, count)

    def _update(
        self, name: str, objective: Callable[[Networks, Batch], Loss], batches: Sequence[Batch]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of the network `name`; its loss and its terms, means over the micro-batches."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        rows = []
        for batch in batches:
            with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
                loss, terms = objective(self.networks, batch)
            (loss / len(batches)).backward()
            rows.append(torch.stack([loss, *terms.values()]).detach().float())
        self.ranks.average_gradients(optimizer)
        optimizer.step()
        mean, *of_terms = torch.stack(rows).mean(dim=0).unbind()
        return mean, dict(zip(terms, of_terms, strict=True))

    def _set_learning_rates(self) -> None:
        factor = self._schedule(self.step)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self._rates[name] * factor


def _adam(network: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Adam:
    learning = [weights for weights in network.parameters() if weights.requires_grad]
    return torch.optim.Adam(learning, **settings, fused=True)


@contextmanager
def _fixed(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let gradients pass the weights of `optimizer` without collecting on them.

    Weights that it does not hold are frozen for good and are left alone.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
