"""Training pairs on the device, from uint8 pictures and embeddings: one seeded permutation an epoch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.core.seeding import generator_for
from textbloom.dataset.prepared import Prepared, reduced
from textbloom.training import augmentation
from textbloom.training.feed import feed, resident
from textbloom.training.ranks import ALONE, Ranks


class TrainingPairs:
    """Batches of (picture [B, 3, S, S] float32 in [-1, 1], embedding [B, D]), the same for a seed on any device.

    S is `size`, a whole fraction of the pictures' own (None: their own). Where several `ranks` train together, B is
    this one's share of `batch_size`: its part of each of the batch's `micro_batches`. `section` of params.yaml is what
    errors name.

    The last pictures of an epoch's permutation that do not fill a batch wait for another epoch: batch statistics of a
    stub would differ from all others. With `flips` each picture is mirrored in about half of the epochs.
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
                f"{section}.batch_size: {batch_size} is more than the {len(prepared)} training pictures; lower it "
                "or raise data.limit"
            )
        if size is not None and prepared.images.size % size:
            raise UserError(
                f"train.size: {size} is no whole fraction of the pictures' {prepared.images.size} pixels; "
                "lower it or change images.size"
            )
        self._count = len(prepared)
        self._feed = feed(prepared.images, device)
        self._embeddings = prepared.embeddings.to(device)
        self._first_row = prepared.first_row
        self._caption_counts = prepared.caption_counts
        self.batch_size = batch_size
        self._seed = seed
        self._ranks = ranks
        self._micro_batches = micro_batches
        self._flips = flips
        self.size = size or prepared.images.size
        self.embedding_dim = prepared.embeddings.shape[1]
        self.steps_per_epoch = len(prepared) // batch_size

    def __len__(self) -> int:
        return self._count

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch (numbered from 0) from `first_step` on, each image with one of its captions."""
        order = torch.randperm(self._count, generator=generator_for(self._seed, "order", epoch))
        chance = torch.rand(self._count, generator=generator_for(self._seed, "caption choice", epoch))
        rows = self._first_row + (chance * self._caption_counts).long()
        batches = order.split(self.batch_size)[first_step : self.steps_per_epoch]
        own = [self._ranks.share(batch, self._micro_batches) for batch in batches]
        texts = resident(self._embeddings, [rows[chosen] for chosen in own])
        coins = resident(augmentation.coins(self._count, self._seed, epoch).to(self._embeddings.device), own)
        for pictures, text, which in zip(self._feed(own), texts, coins, strict=True):
            images = reduced(pictures.float(), self.size).div_(127.5).sub_(1.0)
            if self._flips:
                images = augmentation.flipped(images, which)
            yield images.contiguous(memory_format=torch.channels_last), text
