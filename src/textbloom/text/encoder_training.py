"""Training a text encoder against frozen picture features: its data, batches of distinct classes, a resumable loop."""

import hashlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from textbloom.core import resume, runtime
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.core.seeding import generator_for, seed_for
from textbloom.core.tensors import load_metadata, load_tensors, save_tensors
from textbloom.text import joint_embedding, trained_encoder, zero_shot

SAVE_SECONDS = 45  # a killed run loses at most this much work
LOG_STEPS = 20  # steps between looks at the loss, for each look waits for the device
_ENCODED_AT_ONCE = 64  # captions


@dataclass(frozen=True)
class CaptionedPhotos:
    """What an encoder learns from and is judged by: the photos of some splits with their classes and captions.

    features: groups of photo features, each [N, F]. classes: int64 [N], class ids.
    captions: R of them. caption_photos: int64 [R], each caption's photo, a row of each group.
    """

    features: Mapping[str, Tensor]
    classes: Tensor
    captions: list[str]
    caption_photos: Tensor

    @property
    def caption_classes(self) -> Tensor:
        """int64 [R]."""
        return self.classes[self.caption_photos]


def select(rows: pd.DataFrame, features: Mapping[str, Tensor], splits: Collection[str]) -> CaptionedPhotos:
    """The photos of `splits`, which may be none.

    rows: captions.csv. features: groups [M, F] of all photos of `rows`, in ascending order of their ids.
    """
    kept = rows[rows["split"].isin(list(splits))]
    ids, first = np.unique(kept["image_id"].to_numpy(), return_index=True)
    places = torch.from_numpy(np.searchsorted(np.unique(rows["image_id"].to_numpy()), ids))
    return CaptionedPhotos(
        {group: values[places] for group, values in features.items()},
        torch.from_numpy(kept["class_id"].to_numpy(dtype=np.int64)[first]),
        kept["caption"].tolist(),
        torch.from_numpy(np.searchsorted(ids, kept["image_id"].to_numpy())),
    )


class Pairs:
    """Training photos and captions, of which a batch draws one pair of each class."""

    def __init__(self, features: Tensor, classes: Tensor, tokens: Tensor, caption_photos: Tensor) -> None:
        """Captions belong to photos, photos to classes; every photo has a caption.

        features: float32 [N, D]. classes: int64 [N].
        tokens: of the captions, [R, L]. caption_photos: int64 [R], each caption's photo, a row of `features`.
        """
        counts = classes.unique(return_counts=True)[1]
        caption_counts = caption_photos.bincount(minlength=len(classes))
        if len(counts) < 2:
            raise UserError(
                "encoder.name: an encoder trained here learns to tell classes apart, and the training pictures are all "
                "of one: choose a pretrained encoder"
            )
        assert int(caption_counts.min()) > 0
        self.features, self.tokens = features, tokens
        # The photos class by class, the captions photo by photo, and where each group begins.
        self._photos, self._photo_counts = classes.argsort(stable=True), counts
        self._captions, self._caption_counts = caption_photos.argsort(stable=True), caption_counts
        self._first_photo = counts.cumsum(0) - counts
        self._first_caption = caption_counts.cumsum(0) - caption_counts

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.features)

    @property
    def classes(self) -> int:
        return len(self._photo_counts)

    def draw(self, batch_size: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distinct classes, `batch_size` of them or all; of each a photo and a caption of it.

        Returns features [B, D] and tokens [B, L].
        """
        chosen = torch.randperm(self.classes, generator=stream)[:batch_size]
        photo_share, caption_share = torch.rand(2, len(chosen), generator=stream, dtype=torch.float64)
        photos = self._photos[_pick(self._first_photo, self._photo_counts, chosen, photo_share)]
        captions = self._captions[_pick(self._first_caption, self._caption_counts, photos, caption_share)]
        return self.features[photos], self.tokens[captions]


def _pick(first: Tensor, count: Tensor, group: Tensor, share: Tensor) -> Tensor:
    """In each group of `count` places from `first` on, the place at `share` in [0, 1) of it."""
    return first[group] + (share * count[group]).long()


@dataclass(frozen=True)
class Schedule:
    """How long and how fast the encoder learns.

    An epoch is as many steps as the training photos fill batches, although photos are drawn by class, not in turn.

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
        features, tokens = self.pairs.draw(s.batch_size, generator_for(s.seed, "encoder batch", self.step))
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * s.lr_decay ** (self.step // self.steps_per_epoch)
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            texts = self.network(tokens.to(self.device))
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
            if done % LOG_STEPS == 0 or done == per_epoch:
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


def train_and_measure(
    name: str,
    rows: pd.DataFrame,
    features: Mapping[str, Tensor],
    pretrained: Sequence[Mapping[str, str]],
    train_splits: Collection[str],
    schedule: Schedule,
    folder: Path,
    resume_root: Path,
) -> dict[str, Any]:
    """Train on `train_splits`, write the encoder to `folder`, and return its metrics on a split that is not among them.

    That split is val where training leaves it out, so that encoders are chosen without a look at test; else it is test.
    A run that was killed continues where it stopped, if data, schedule and code are the same.

    name: of `trained_encoder.KINDS`. rows: captions.csv. features: groups of photo features, in ascending order of the
    image ids. pretrained: the networks that gave them. resume_root: where unfinished runs are saved.
    """
    device = runtime.device()
    train_part = select(rows, features, train_splits)
    held_out = select(rows, features, ["test" if "val" in train_splits else "val"])
    space = joint_embedding.fit_picture_space(train_part.features, joint_embedding.EMBEDDING_DIM)
    tokenizer = trained_encoder.KINDS[name].fit(train_part.captions)
    pairs = Pairs(
        space(train_part.features), train_part.classes, tokenizer(train_part.captions), train_part.caption_photos
    )
    torch.manual_seed(seed_for(schedule.seed, "text encoder weights"))
    trainer = EncoderTrainer(tokenizer.network(), pairs, schedule, device)
    parts = [rows.to_csv().encode(), *(values.contiguous().numpy().tobytes() for values in features.values())]
    data = [hashlib.sha256(part).hexdigest() for part in parts]
    settings = [name, asdict(schedule), list(train_splits), data, runtime.arithmetic(device)]
    work = resume.resume_folder(resume_root, settings, [], ["text", "core"])
    with resume.lock(work):
        losses = train(trainer, work)
        encoder = trained_encoder.save(folder, name, tokenizer, trainer.network, asdict(schedule), pretrained)
        metrics = {
            "encoder": name,
            "trained": True,
            "parameters": sum(weights.numel() for weights in trainer.network.parameters()),
            "train_classes": pairs.classes,
            "train_loss": round(losses[-1], 5),
            **_zero_shot(encoder, space, train_part, held_out),
        }
        resume.remove(work)
    return metrics


def _zero_shot(
    encoder: trained_encoder.TrainedEncoder,
    space: joint_embedding.PictureSpace,
    train_part: CaptionedPhotos,
    held_out: CaptionedPhotos,
) -> dict[str, float | int]:
    """The measures of `zero_shot`, rounded, and how many held-out classes were trained on: 0 makes it zero-shot."""
    if not held_out.captions:
        return {}
    texts = encoder.encode(held_out.captions, _ENCODED_AT_ONCE)
    measures = zero_shot.measure(space(held_out.features), held_out.classes, texts, held_out.caption_classes)
    seen = torch.isin(held_out.classes.unique(), train_part.classes).sum()
    return {key: round(value, 4) for key, value in measures.items()} | {"n_classes_seen": int(seen)}
