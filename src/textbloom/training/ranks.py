"""The processes of one run, a device each, and what they tell each other: one optimization on shares of a global batch.

All of them hold all data, the same weights and the same optimizer states. A step's batch is that of a single process,
cut into shares. Where a loss looks at the batch as a whole (batch norm, mean features, the neighbour as the wrong pair)
the ranks exchange what it needs, so that the step is the single process's up to float rounding.

Gradients. Let L be the loss on the global batch and L_r what rank r calls backward on. Terms that are means over
pictures are local means: L = mean_r L_r, as all shares are equal. Terms of global quantities are the same number on
every rank, so L = mean_r L_r holds for them too. `_Sum` passes the sum over ranks of the gradients back, as the true
derivative of a quantity that every rank uses: each rank's gradient is that of sum_r L_r with respect to its own copy
of the weights. The copies are one, so the gradient of L is the sum over copies divided by the number of ranks: the
average, which is what DistributedDataParallel takes as well. It is not used here because a step calls parts of the
networks (`features`, `project`, `score`), which its hooks on `forward` do not see.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from textbloom.core.errors import UserError

LOST = 75  # exit status of a process that stopped because another one did: that one has the reason to tell


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run: `rank` of `world`, counted from 0.

    launched_here: whether the stage's own process started this one, and tells the person what became of it.
    """

    rank: int = 0
    world: int = 1
    launched_here: bool = False

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def share(self, rows: Tensor, micro_batches: int, dim: int = 0) -> Tensor:
        """This rank's part of each micro-batch of a batch, which follow each other along `dim`: B rows to B / world.

        B is a multiple of world · micro_batches; the first B / micro_batches rows are the first micro-batch, and so on.
        """
        if self.world == 1:
            return rows
        shape = rows.shape
        parts = rows.unflatten(dim, (micro_batches, self.world, shape[dim] // (micro_batches * self.world)))
        return parts.select(dim + 1, self.rank).flatten(dim, dim + 1)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks, differentiable: the gradient that reaches `values` is the sum of all ranks' gradients."""
        return values if self.world == 1 else _Sum.apply(values, self)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks, differentiable like `sum`."""
        return values if self.world == 1 else self.sum(values) / self.world

    def neighbours(self, rows: Tensor) -> Tensor:
        """`rows.roll(1, dims=0)` of the global batch: this rank's part of it, for its part [b, …] of the rows."""
        if self.world == 1:
            return rows.roll(1, dims=0)
        # Each rank's last row in a slot of its own: summed, that is everybody's. Not every backend sums bfloat16, and
        # one number beside zeros survives float32 as it is.
        slots = [0, 0] * (rows.ndim - 1) + [self.rank, self.world - 1 - self.rank]
        lasts = F.pad(rows[-1:].float(), slots)
        before = self.sum(lasts)[self.rank - 1].to(rows.dtype)
        return torch.cat([before[None], rows[:-1]])

    @torch.no_grad()
    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the gradients of the optimizer's weights to their mean over ranks: the same bytes on every rank."""
        if self.world == 1:
            return
        gradients = [w.grad for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._all_reduce(flat)
        flat /= self.world
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    @torch.no_grad()
    def share_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Set tensors to those of rank 0: drawn on unlike processors, first weights may differ in their last bits."""
        if self.world > 1:
            for tensor in tensors:
                tensor.copy_(self.sum(tensor if self.first else torch.zeros_like(tensor)))

    def agree(self, number: int, device: torch.device, disagreement: str) -> None:
        """Wait for all ranks; a UserError with the message `disagreement` where they do not hold the same number."""
        if self.world > 1:
            lowest_and_highest = torch.tensor([-number, number], device=device)
            self._all_reduce(lowest_and_highest, dist.ReduceOp.MAX)
            low, high = lowest_and_highest.tolist()
            if -low != high:
                raise UserError(disagreement)

    def _all_reduce(self, values: Tensor, operation: Any = dist.ReduceOp.SUM) -> None:
        try:
            dist.all_reduce(values, operation)
        except RuntimeError as error:
            if self.launched_here:
                sys.exit(LOST)
            raise UserError(
                f"process {self.rank} of {self.world} lost the others ({' '.join(str(error).split())[:120]}): see the "
                "first message of the run, and start it again to go on"
            ) from None


ALONE = Ranks()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        total = values.clone(memory_format=torch.contiguous_format)
        ranks._all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        ctx.ranks._all_reduce(total)
        return total, None
