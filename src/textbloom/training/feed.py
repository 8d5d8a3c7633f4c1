"""How training pictures reach the device: kept there whole, or read from their file a batch ahead."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from textbloom.dataset.prepared import Pictures

SHARE = 0.5  # of a GPU's free memory that pictures may take; networks and activations need the rest
MOVED = 1024  # pictures that go to a GPU together

Feed = Callable[[Sequence[Tensor]], Iterator[Tensor]]


def feed(pictures: Pictures, device: torch.device) -> Feed:
    """A function from rows, int64 [B] a batch, to those pictures on `device`, uint8 [B, 3, S, S] a batch, in order.

    A CPU reads them from the mapped file, which the system keeps in memory as far as it has any to spare. A GPU holds
    them all where SHARE of its free memory does, else the next batch is read while this one is worked on.
    """
    if device.type == "cpu":
        return lambda batches: (pictures[rows] for rows in batches)
    if pictures.bytes <= SHARE * torch.cuda.mem_get_info(device)[0]:
        whole = moved(pictures, device)
        return lambda batches: resident(whole, batches)
    return lambda batches: streamed(pictures, device, batches)


def moved(pictures: Pictures, device: torch.device) -> Tensor:
    """All pictures on `device`, uint8 [N, 3, S, S], some at a time: the device may have more memory than its host."""
    whole = torch.empty((len(pictures), *pictures[[0]].shape[1:]), dtype=torch.uint8, device=device)
    for rows in torch.arange(len(pictures)).split(MOVED):
        whole[rows[0] : rows[-1] + 1] = pictures[rows].to(device)
    return whole


def resident(pictures: Tensor, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """The pictures of each batch of rows, of `pictures` that lie on the device; all batches are of one size.

    The rows go there together: a copy of its own a batch would have every step wait for the device.
    """
    if batches:
        for rows in torch.stack(list(batches)).to(pictures.device):
            yield pictures[rows]


def streamed(pictures: Pictures, device: torch.device, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """The pictures of each batch of rows on `device`, one batch read ahead by a thread."""

    def read(rows: Tensor) -> Tensor:
        found = pictures[rows]
        return found.pin_memory() if device.type == "cuda" else found  # pinned: nobody waits for the copy

    with ThreadPoolExecutor(1, thread_name_prefix="pictures") as reader:
        pending: deque[Future[Tensor]] = deque()
        for rows in batches:
            pending.append(reader.submit(read, rows))
            if len(pending) == 2:
                yield pending.popleft().result().to(device, non_blocking=True)
        while pending:
            yield pending.popleft().result().to(device, non_blocking=True)
