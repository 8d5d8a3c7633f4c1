"""Training batches on the device, from stored pictures and embeddings: one seeded permutation an epoch.

Pictures stay uint8 until a step needs them. They lie whole on the device, or are read from their file a batch ahead.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from textbloom.core.errors import MORE_PICTURES, UserError
from textbloom.core.seeding import generator_for
from textbloom.dataset.prepared import Pictures, Prepared, reduced
from textbloom.training import augmentation
from textbloom.training.distributed import ALONE, Ranks

SHARE = 0.5  # of a GPU's free memory that pictures may take; networks and activations need the rest
MOVED = 1024  # pictures that go to a GPU together

Reader = Callable[[Sequence[Tensor]], Iterator[Tensor]]


class Batches:
    """Batches of (picture [B, 3, S, S] float32 in [-1, 1], embedding [B, D], wrong pair [B]), the same on any device.

    A wrong pair is, for each caption, the index in the global batch of a picture that it does not describe.

    S is `size`, a whole fraction of the pictures' own (None: their own). Where several `ranks` train together, B is
    this one's share of `batch_size`: its part of each of the batch's `micro_batches`. `section` of params.yaml is what
    errors name.

    The last pictures of an epoch's permutation that do not fill a batch wait for another epoch: batch statistics of a
    stub would differ from all others. With `flips` each picture is mirrored in about half of the epochs. Of
    larger pictures, where there are any, each epoch shows random squares of side S, after they were reduced likewise.
    """

    def __init__(
        self,
        prepared: Prepared,
        batch_size: int,
        seed: int,
        device: torch.device,
        size: int | None = None,
        ranks: Ranks = ALONE,
        micro_batches: int = 1,
        section: str = "train",
        flips: bool = False,
    ) -> None:
        if len(prepared) < batch_size:
            raise UserError(
                f"{section}.batch_size: {batch_size} is more than the {len(prepared)} training pictures; lower it, "
                f"or {MORE_PICTURES}"
            )
        self._count = len(prepared)
        pictures = prepared.larger or prepared.images
        self._pictures = on_device(pictures, device)
        self._embeddings = prepared.embeddings.to(device)
        self._first_row = prepared.first_row
        self._caption_counts = prepared.caption_counts
        self._class_ids, self._caption_ids = torch.from_numpy(prepared.class_ids), prepared.caption_ids
        self.batch_size = batch_size
        self._seed = seed
        self._ranks = ranks
        self._micro_batches = micro_batches
        self._flips = flips
        self.size = size or prepared.images.size
        self._margin = self.size * pictures.size // prepared.images.size - self.size
        self.steps_per_epoch = len(prepared) // batch_size

    def __len__(self) -> int:
        return self._count

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batches of one epoch (numbered from 0) from `first_step` on, each image with one of its captions."""
        order = torch.randperm(self._count, generator=generator_for(self._seed, "order", epoch))
        chance = torch.rand(self._count, generator=generator_for(self._seed, "caption choice", epoch))
        rows = self._first_row + (chance * self._caption_counts).long()
        batches = order.split(self.batch_size)[first_step : self.steps_per_epoch]
        own = [self._ranks.share(batch, self._micro_batches) for batch in batches]
        texts = resident(self._embeddings, [rows[chosen] for chosen in own])
        device = self._embeddings.device
        mirror = augmentation.mirror_choices(self._count, self._seed, epoch).to(device)
        corners = augmentation.crop_corners(self._count, self._margin, self._seed, epoch).to(device)
        wrong = [self._wrong_pairs(batch, rows[batch]).to(device) for batch in batches]
        shares = zip(self._pictures(own), texts, wrong, resident(mirror, own), resident(corners, own), strict=True)
        for pictures, text, places, which, corner in shares:
            images = reduced(pictures.float(), self.size + self._margin).div_(127.5).sub_(1.0)
            if self._margin:
                images = augmentation.cropped(images, corner, self.size)
            if self._flips:
                images = augmentation.mirrored(images, which)
            yield images.contiguous(memory_format=torch.channels_last), text, places

    def _wrong_pairs(self, chosen: Tensor, rows: Tensor) -> Tensor:
        """This rank's wrong pairs of the global batch of pictures `chosen` with their captions `rows`, both [B]."""
        count = self._micro_batches
        pairs = zip(self._class_ids[chosen].chunk(count), self._caption_ids[rows].chunk(count), strict=True)
        return self._ranks.share(torch.cat([wrong_pairs(*of_pictures) for of_pictures in pairs]), count)


def wrong_pairs(classes: Tensor, captions: Tensor) -> Tensor:
    """For each of B pictures, by numbers of class and caption [B], the place of one that its caption is wrong for.

    It is the nearest one before it, the first following the last, that differs in both; where there is none, in the
    caption alone, else in the class alone, else simply the one before it.
    """
    count = len(classes)
    others = (torch.arange(count)[:, None] - torch.arange(1, count)) % count
    differs = 2 * (captions[others] != captions[:, None]).int() + (classes[others] != classes[:, None])
    return others.gather(1, differs.argmax(1, keepdim=True))[:, 0]  # argmax gives the first of equals


def on_device(pictures: Pictures, device: torch.device) -> Reader:
    """A function from rows, int64 [B] a batch, to those pictures on `device`, uint8 [B, 3, S, S] a batch, in order.

    A CPU reads them from the mapped file, which the system keeps in memory as far as it has any to spare. A GPU holds
    all of them where they fit in SHARE of its free memory; otherwise the next batch is read while this one is used.
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
