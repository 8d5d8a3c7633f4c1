"""Several processes that train together, a device each: one optimization on shares of a global batch.

All of them hold all data, the same weights and the same optimizer states. A step's batch is that of a single process,
cut into shares. Where a loss looks at the batch as a whole (batch norm, mean features, another picture as the wrong
one) the processes exchange what it needs, so that the step is the single process's up to float rounding.

Gradients. Let L be the loss on the global batch and L_r what rank r calls backward on. Terms that are means over
pictures are local means: L = mean_r L_r, as all shares are equal. Terms of global quantities are the same number on
every rank, so L = mean_r L_r holds for them too. The gradient of a sum over ranks is the sum over ranks of the
gradients, the true derivative of a quantity that every rank uses: each rank's gradient is that of sum_r L_r with
respect to its own copy of the weights. The copies are one, so the gradient of L is the sum over copies divided by the
number of ranks: the average, which is what DistributedDataParallel takes as well. It is not used here because a step
calls parts of the networks (`features`, `project`, `score`), which its hooks on `forward` do not see.
"""

import atexit
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import _functional_collectives as collectives
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.modules.batchnorm import _BatchNorm

from textbloom.core.errors import UserError

LOST = 75  # exit status of a process that stopped because another one did


def join(devices: int) -> "Ranks":
    """This process's place among the `devices` processes that train together.

    A process that torchrun started takes the place it was given. Another one, unless it is to train alone, starts that
    many copies of its program on this machine as torchrun does, and ends with them: the call does not return there.

    Processes on GPUs take one each and talk over NCCL, on CPUs over gloo. Raises UserError where `train.devices` fits
    neither the processes started nor the GPUs of the machine.
    """
    world = int(os.environ.get("WORLD_SIZE", 0))
    if world and world != devices:
        raise UserError(f"train.devices: is {devices}, but {world} processes were started: set it to {world}")
    if devices == 1:
        return ALONE
    needed, there = int(os.environ.get("LOCAL_RANK", devices - 1)) + 1, torch.cuda.device_count()
    if 0 < there < needed:
        raise UserError(f"train.devices: this machine needs {needed} GPUs for it and has {there}: lower it")
    if not world:
        _launch(devices)
    if there:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if there else "gloo")
    atexit.register(dist.destroy_process_group)
    return Ranks(int(os.environ["RANK"]), devices)


def _launch(devices: int) -> NoReturn:
    """Do what `torchrun --standalone` does, but end with one line where torchrun's own ending has a page."""
    # Together the processes use as many threads as one would, unless the person has set their number.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // devices)))
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as logs:
        # Rank 0 speaks to the person; what the others say comes up only where one of them fails alone.
        quiet = DefaultLogsSpecs(log_dir=logs, redirects=dict.fromkeys(range(1, devices), Std.ERR))
        setting = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            logs_specs=quiet,
            run_id="textbloom",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
        )
        try:
            elastic_launch(setting, sys.executable)(*sys.orig_argv[1:])
        except SignalException as error:
            sys.exit(128 + error.sigval)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in sorted(error.failures.items())}
            # Those that lost the others, or that were ended for it, are not the cause.
            rank = next((rank for rank, code in codes.items() if code not in (LOST, -signal.SIGTERM)), min(codes))
            if rank == 0 and codes[rank] > 0:
                sys.exit(codes[rank])  # it has said why
            for log in Path(logs).glob(f"*/*/{rank}/stderr.log"):
                sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
            signalled = f"was killed by {signal.Signals(-codes[rank]).name}" if codes[rank] < 0 else None
            how = signalled or f"ended with status {codes[rank]}"
            sys.exit(
                f"error: training process {rank} of {devices} (counted from 0) {how}, so the others were ended; "
                "run again to go on from the last saved state"
            )
    sys.exit(0)


@contextmanager
def one_line_for_a_lost_process(ranks: "Ranks") -> Iterator[None]:
    """End this process with one line where the libraries say that another one has ended: that one has the reason."""
    try:
        yield
    except RuntimeError as error:  # gloo's errors are known by their words alone
        if ranks.world == 1 or not (isinstance(error, dist.DistError) or "onnection" in str(error)):
            raise
        print(f"training process {ranks.rank} of {ranks.world} (counted from 0) lost the others", file=sys.stderr)
        sys.exit(LOST)


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run: `rank` of `world`, counted from 0."""

    rank: int = 0
    world: int = 1

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
        if self.world == 1:
            return values
        assert dist.group.WORLD is not None
        return collectives.wait_tensor(collectives.all_reduce(values.contiguous(), "sum", dist.group.WORLD))

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks, differentiable like `sum`."""
        return values if self.world == 1 else self.sum(values) / self.world

    def pick(self, rows: Tensor, places: Tensor) -> Tensor:
        """The rows at `places`, int64 [n], of the global batch, of which `rows` [b, …] are this rank's part."""
        if self.world == 1:
            return rows[places]
        # Each rank's rows in a slot of their own: summed, that is everybody's. Not every backend sums bfloat16, and
        # one number beside zeros survives a wider type as it is.
        count = len(rows)
        slots = [0, 0] * (rows.ndim - 1) + [self.rank * count, (self.world - 1 - self.rank) * count]
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return self.sum(F.pad(wide, slots)).to(rows.dtype)[places]

    @torch.no_grad()
    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the gradients of the optimizer's weights to their mean over ranks: the same bytes on every rank."""
        if self.world == 1:
            return
        gradients = [w.grad for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
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
            dist.all_reduce(lowest_and_highest, dist.ReduceOp.MAX)
            low, high = lowest_and_highest.tolist()
            if -low != high:
                raise UserError(disagreement)


ALONE = Ranks()


def synchronise_batch_norm(network: nn.Module, ranks: Ranks, device: torch.device) -> None:
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
    """Stands for a batch norm (Ioffe and Szegedy 2015) on inputs [b, C, …], b of a global batch of b · world.

    Mean and variance are of all ranks, two sums that gradients pass through, so that autograd's derivative is exact.
    """

    def __init__(self, layer: _BatchNorm, ranks: Ranks) -> None:
        super().__init__()
        assert layer.momentum is not None and layer.running_mean is not None
        self.eps, self.momentum, self._ranks = layer.eps, layer.momentum, ranks
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
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(x.dtype)
