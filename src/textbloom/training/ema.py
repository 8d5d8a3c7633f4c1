"""The exponential moving average of a network's weights (Yazıcı et al. 2019, arXiv 1806.04498).

Its length is told in pictures, so that another batch size leaves it as it is.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

RAMP = 0.05  # of the pictures seen so far: the half-life is never longer, so that the random start is soon forgotten


class Ema:
    """`network` follows `source`: what a step brought has lost half of its share after `half_life` more pictures."""

    def __init__(self, source: nn.Module, half_life: float) -> None:
        self._source = source
        self._half_life = half_life
        self.network = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, seen: int, pictures: int) -> None:
        """Move towards the source after a step of so many `pictures`, before which `seen` were."""
        half_life = min(self._half_life, RAMP * seen)
        keep = 0.5 ** (pictures / half_life) if seen else 0.0
        ours, theirs = self.network.state_dict(), self._source.state_dict()
        floats = [name for name, tensor in ours.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in floats], [theirs[name] for name in floats], 1.0 - keep)
        for name in ours.keys() - set(floats):
            ours[name].copy_(theirs[name])


@torch.no_grad()
def recompute_batch_norm(network: nn.Module, inputs: Iterable[tuple[Tensor, ...]]) -> None:
    """Set the statistics of the batch norms inside `network` to their means over batches of `inputs`.

    Averaged statistics are those of many networks of the past, not of the averaged weights (Izmailov et al. 2018, arXiv
    1803.05407, section 3.2). A frozen part, which stays in evaluation mode, keeps its own.
    """
    network.train()
    norms: list[Any] = [part for part in network.modules() if getattr(part, "running_mean", None) is not None]
    momenta = [norm.momentum for norm in norms]
    for before, batch in enumerate(inputs):
        for norm in norms:
            norm.momentum = 1.0 / (before + 1)
        network(*batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
