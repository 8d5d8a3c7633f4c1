"""The exponential moving average of a network's weights and batch statistics (Yazıcı et al. 2019, arXiv 1806.04498)."""

import copy

import torch
from torch import nn


class Ema:
    """`network` follows `source`: average ← d · average + (1 − d) · source after every step.

    d grows from 0.1 to `decay` over the first steps, so that the random start is soon forgotten.
    """

    def __init__(self, source: nn.Module, decay: float) -> None:
        self._source = source
        self._decay = decay
        self.network = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the source's present weights; `step` counts from 0."""
        keep = min(self._decay, (1 + step) / (10 + step))
        ours, theirs = self.network.state_dict(), self._source.state_dict()
        floats = [name for name, tensor in ours.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in floats], [theirs[name] for name in floats], 1.0 - keep)
        for name in ours.keys() - set(floats):
            ours[name].copy_(theirs[name])
