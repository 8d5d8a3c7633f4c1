"""What an objective is: the loss of each network on a batch, and nothing of how the networks are trained.

A new objective is one class here beside `gan_cls`. It may use losses of any form: hinge losses, gradient penalties,
auxiliary heads. The trainer knows only the two losses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from textbloom.models.base import Discriminator, Generator

Loss = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Networks:
    """The two networks of a system."""

    generator: Generator
    discriminator: Discriminator


@dataclass
class Batch:
    """What one step of both networks works on.

    Where several processes train together, a batch is this process's share of the global batch; `mismatched` and `mean`
    then look at all of it.

    images: real pictures [B, 3, S, S] in [-1, 1].
    text: the embedding [B, D] of each picture's caption.
    noise: standard normal, [2, B, Z]: the first draw is for the discriminator's step, the second for the generator's.
    augment: changes pictures at random before the discriminator sees them, differentiably. It is meant for real and
        generated pictures alike.
    mismatched: rows [B, …] to those of another picture of the batch, for each row.
    mean: the mean over all processes of a tensor that is this process's mean.
    micro_batches: how many such batches a step works on, the discriminator's losses of all before the generator's.
    memo: what the discriminator's step computed and the generator's may use again.
    """

    images: Tensor
    text: Tensor
    noise: Tensor
    augment: Callable[[Tensor], Tensor] = lambda pictures: pictures
    mismatched: Callable[[Tensor], Tensor] = lambda rows: rows.roll(1, dims=0)
    mean: Callable[[Tensor], Tensor] = lambda values: values
    micro_batches: int = 1
    memo: dict[str, Any] = field(default_factory=dict)


class Objective(ABC):
    """Both networks' losses, each with its unweighted terms by name (for the loss curves, as d_<name> and g_<name>).

    The names of the terms are the same at every step.
    """

    @abstractmethod
    def discriminator(self, networks: Networks, batch: Batch) -> Loss:
        """The discriminator's loss on a batch, a scalar, and its terms."""

    @abstractmethod
    def generator(self, networks: Networks, batch: Batch) -> Loss:
        """The generator's loss on a batch, a scalar, and its terms. It leaves no gradient on the discriminator."""

    def warning(self, epochs: Sequence[Mapping[str, float]]) -> str | None:
        """What a person should know about a run that goes wrong; None while all is well.

        `epochs` holds for each finished epoch the mean of `discriminator`, `generator` and every term.
        """
        return None
