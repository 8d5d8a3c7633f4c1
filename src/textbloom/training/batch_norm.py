"""Batch norm over the global batch of several processes (Ioffe and Szegedy 2015, arXiv 1502.03167)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from textbloom.training.ranks import Ranks


def synchronise(network: nn.Module, ranks: Ranks, device: torch.device) -> None:
    """Make every batch norm inside `network` take its statistics from all ranks; weights, names and order stay."""
    if ranks.world == 1:
        return
    if device.type == "cuda":  # the framework's, which has kernels of its own, refuses a CPU's tensors
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, _BatchNorm):
                setattr(module, name, SynchronisedBatchNorm(layer, ranks))


class SynchronisedBatchNorm(nn.Module):
    """Stands for a batch norm on inputs [b, C, …], b of a global batch of b · world.

    Mean and variance are of all ranks, two sums that gradients pass through, so that autograd's derivative is exact.
    """

    def __init__(self, layer: _BatchNorm, ranks: Ranks) -> None:
        super().__init__()
        assert layer.momentum is not None and layer.running_mean is not None
        self.eps, self._momentum, self._ranks = layer.eps, layer.momentum, ranks
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        places = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = x.numel() // x.shape[1] * self._ranks.world
        # In float32 under autocast too, as the framework's own.
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        mean = self._ranks.sum(wide.sum(places)) / count
        centred = wide - mean.view(shape)
        variance = self._ranks.sum(centred.square().sum(places)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self._momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self._momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)
