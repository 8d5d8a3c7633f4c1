"""Training a text encoder against frozen picture features: batches of distinct classes, a resumable loop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.core.seeding import generator_for
from textbloom.core.tensors import load_metadata, load_tensors, save_tensors
from textbloom.text import joint_embedding

SAVE_SECONDS = 45  # a kill costs at most this long
LOOK_STEPS = 20  # steps between looks at the loss: each look waits for the device


class Pairs:
    """Training pictures and captions, drawn a pair a class."""

    def __init__(self, features: Tensor, classes: Tensor, captions: Tensor, caption_pictures: Tensor) -> None:
        """Captions belong to pictures, pictures to classes; every picture has a caption.

        features: float32 [N, D]. classes: int64 [N].
        captions: coded captions [R, L]. caption_pictures: int64 [R], each caption's picture, a row of `features`.
        """
        by_class = classes.argsort(stable=True)
        by_picture = caption_pictures.argsort(stable=True)
        counts, caption_counts = (
            classes.unique(return_counts=True)[1],
            caption_pictures.bincount(minlength=len(classes)),
        )
        if len(counts) < 2:
            raise UserError(
                "encoder.name: an encoder trained here learns to tell classes apart, and the training pictures are all "
                "of one: choose a pretrained encoder"
            )
        assert int(caption_counts.min()) > 0
        self.features, self.captions = features, captions
        self._pictures, self._picture_counts = by_class, counts
        self._caption_order, self._caption_counts = by_picture, caption_counts
        self._first_picture = counts.cumsum(0) - counts
        self._first_caption = caption_counts.cumsum(0) - caption_counts

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.features)

    @property
    def classes(self) -> int:
        return len(self._picture_counts)

    def draw(self, batch_size: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distinct classes, `batch_size` of them or all; of each a picture and a caption of it.

        Returns features [B, D] and coded captions [B, L].
        """
        chosen = torch.randperm(self.classes, generator=stream)[:batch_size]
        picture_share, caption_share = torch.rand(2, len(chosen), generator=stream, dtype=torch.float64)
        pictures = self._pictures[_pick(self._first_picture, self._picture_counts, chosen, picture_share)]
        captions = self._caption_order[_pick(self._first_caption, self._caption_counts, pictures, caption_share)]
        return self.features[pictures], self.captions[captions]


def _pick(first: Tensor, count: Tensor, group: Tensor, share: Tensor) -> Tensor:
    """In each group, which holds `count` places from `first` on, the place at `share` in [0, 1) of it."""
    return first[group] + (share * count[group]).long()


@dataclass(frozen=True)
class Schedule:
    """An epoch is as many steps as the training pictures fill batches: pictures are drawn a class, not in turn.

    lr: Adam's learning rate in the first epoch, multiplied by lr_decay after each.
    precision: auto | fp32 | bf16, of the network's passes; loss and weights are float32.
    """

    seed: int
    epochs: int
    batch_size: int
    lr: float
    lr_decay: float
    precision: str


class EncoderTrainer:
    """A text encoder and its optimizer, advanced a batch at a time.

    `step` counts finished steps; it alone decides batch and rate, so a restored trainer goes on exactly where it was.
    """

    def __init__(self, network: nn.Module, pairs: Pairs, schedule: Schedule, device: torch.device) -> None:
        self.network = network.to(device).train()
        self.pairs = pairs
        self.schedule = schedule
        self.device = device
        self.autocast = runtime.autocast_dtype(schedule.precision, device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=schedule.lr, fused=True)
        self.steps_per_epoch = math.ceil(len(pairs) / min(schedule.batch_size, pairs.classes))
        self.step = 0

    def advance(self) -> Tensor:
        """Update the network once; returns the loss, detached, on the device."""
        s = self.schedule
        features, captions = self.pairs.draw(s.batch_size, generator_for(s.seed, "encoder batch", self.step))
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * s.lr_decay ** (self.step // self.steps_per_epoch)
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            texts = self.network(captions.to(self.device))
        loss = joint_embedding.loss(features.to(self.device), texts.float())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return loss.detach()


def train(trainer: EncoderTrainer, folder: Path, after_step: Callable[[int], None] = lambda step: None) -> list[float]:
    """Train to the schedule's end, from the state in `folder` if there is one, saving it there as it goes.

    Returns the mean loss of each epoch. `after_step` is called with the number of finished steps. Raises UserError when
    the loss is no longer finite; the last finite state stays in `folder`.
    """
    per_epoch, epochs = trainer.steps_per_epoch, trainer.schedule.epochs
    losses, so_far = restore(folder, trainer) or ([], 0.0)
    total = torch.tensor(so_far, dtype=torch.float64, device=trainer.device)
    saved = time.monotonic()
    with progress(None, "text encoder", "steps", epochs * per_epoch) as bar:
        bar.update(trainer.step)
        while trainer.step < epochs * per_epoch:
            total += trainer.advance()
            bar.update(1)
            done = trainer.step - len(losses) * per_epoch
            if done % LOOK_STEPS == 0 or done == per_epoch:
                mean = float(total) / done
                _check_finite(mean, trainer.step, folder)
                bar.set_postfix_str(f"epoch {len(losses) + 1}/{epochs} loss {mean:.4f}", refresh=False)
                if done == per_epoch:
                    losses.append(mean)
                    total.zero_()
                if time.monotonic() - saved > SAVE_SECONDS:
                    save(folder, trainer, losses, float(total))
                    saved = time.monotonic()
            after_step(trainer.step)
    return losses


def save(folder: Path, trainer: EncoderTrainer, losses: list[float], total: float) -> None:
    """Write all that decides the rest of the run: network, optimizer, step; and the losses so far."""
    tensors = {f"network/{key}": value for key, value in trainer.network.state_dict().items()}
    for index, slots in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{slot}": value for slot, value in slots.items()}
    save_tensors(folder / "state.safetensors", tensors, {"step": trainer.step, "losses": losses, "total": total})


def restore(folder: Path, trainer: EncoderTrainer) -> tuple[list[float], float] | None:
    """Set `trainer` to the saved state; returns the finished epochs' losses and the sum of the unfinished one's."""
    path = folder / "state.safetensors"
    if not path.exists():
        return None
    tensors, metadata = load_tensors(path), load_metadata(path)
    trainer.network.load_state_dict({key: tensors[f"network/{key}"] for key in trainer.network.state_dict()})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, *rest = key.split("/")
        if kind == "optimizer":
            state.setdefault(int(rest[0]), {})[rest[1]] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    trainer.step = metadata["step"]
    return metadata["losses"], metadata["total"]


def _check_finite(mean: float, step: int, folder: Path) -> None:
    if not math.isfinite(mean):
        raise UserError(
            f"the text encoder's loss is {mean} at step {step}: lower encoder_training.lr; the last good state stays "
            f"in {folder}"
        )
