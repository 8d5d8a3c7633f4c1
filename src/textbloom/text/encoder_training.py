"""Training a text encoder against frozen picture features: its data, batches of distinct classes, a resumable loop."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from textbloom.core import checkpoint, runtime
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.core.seeding import generator_for, seed_for
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
        self.features, self.tokens = features, tokens
        self._photos = _Groups(classes.unique(return_inverse=True)[1])
        self._captions = _Groups(caption_photos)
        if self.classes < 2:
            raise UserError(
                "encoder.name: an encoder trained here learns to tell classes apart, and the training pictures are all "
                "of one: choose a pretrained encoder"
            )

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.features)

    @property
    def classes(self) -> int:
        return len(self._photos.counts)

    def draw(self, batch_size: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distinct classes, `batch_size` of them or all; of each a photo and a caption of it.

        Returns features [B, D] and tokens [B, L].
        """
        chosen = torch.randperm(self.classes, generator=stream)[:batch_size]
        photo_share, caption_share = torch.rand(2, len(chosen), generator=stream, dtype=torch.float64)
        photos = self._photos.pick(chosen, photo_share)
        return self.features[photos], self.tokens[self._captions.pick(photos, caption_share)]


class _Groups:
    """Rows by their group: the photos of each class, or the captions of each photo."""

    def __init__(self, group_of: Tensor) -> None:
        """group_of: int64 [N], each row's group, counted from 0; none is empty."""
        self.rows, self.counts = group_of.argsort(stable=True), group_of.bincount()
        self.first = self.counts.cumsum(0) - self.counts

    def pick(self, groups: Tensor, share: Tensor) -> Tensor:
        """Of each of `groups` the row at `share` in [0, 1) of it."""
        return self.rows[self.first[groups] + (share * self.counts[groups]).long()]


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


def train(network: nn.Module, pairs: Pairs, schedule: Schedule, device: torch.device, folder: Path) -> list[float]:
    """Train `network` to the schedule's end, from the state in `folder` if there is one, saving it there as it goes.

    Returns the mean loss of each epoch. Raises UserError when the loss is no longer finite; the last finite state stays
    in `folder`.
    """
    s = schedule
    network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=s.lr, fused=True)
    trained = {"network": network}, {"network": optimizer}
    dtype = runtime.autocast_dtype(s.precision, device)
    steps = math.ceil(len(pairs) / min(s.batch_size, pairs.classes))  # of an epoch
    state = folder / checkpoint.STATE
    notes: dict[str, Any] = {"step": 0, "losses": [], "total": 0.0}
    if state.exists():
        notes, _ = checkpoint.restore(state, *trained)
    losses, first = notes["losses"], notes["step"]
    total = torch.tensor(notes["total"], dtype=torch.float64, device=device)  # of the epoch's losses so far
    saved = time.monotonic()
    with progress(None, "text encoder", "steps", s.epochs * steps, done=first) as bar:
        # The step alone decides batch and rate, so a restored run goes on exactly where it was.
        for step in range(first, s.epochs * steps):
            features, tokens = pairs.draw(s.batch_size, generator_for(s.seed, "encoder batch", step))
            optimizer.param_groups[0]["lr"] = s.lr * s.lr_decay ** (step // steps)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                texts = network(tokens.to(device))
            loss = joint_embedding.loss(features.to(device), texts.float())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            bar.update(1)
            done = step + 1 - len(losses) * steps
            if done % LOG_STEPS == 0 or done == steps:
                mean = float(total) / done
                if not math.isfinite(mean):
                    raise UserError(
                        f"the text encoder's loss is {mean} at step {step + 1}: lower encoder_training.lr; the last "
                        f"good state stays in {folder}"
                    )
                bar.set_postfix_str(f"epoch {len(losses) + 1}/{s.epochs} loss {mean:.4f}", refresh=False)
                if done == steps:
                    losses.append(mean)
                    total.zero_()
                if time.monotonic() - saved > SAVE_SECONDS:
                    checkpoint.save(state, *trained, {"step": step + 1, "losses": losses, "total": float(total)})
                    saved = time.monotonic()
    return losses


def train_and_measure(
    name: str,
    rows: pd.DataFrame,
    features: Mapping[str, Tensor],
    pretrained: Sequence[Mapping[str, str]],
    train_splits: Collection[str],
    schedule: Schedule,
    folder: Path,
    *,
    resume_root: Path,
    files: Sequence[Path],
) -> dict[str, Any]:
    """Train on `train_splits`, write the encoder to `folder`, and return its metrics on a split that is not among them.

    That split is val where training leaves it out, so that encoders are chosen without a look at test; else it is test.
    A run that was killed continues where it stopped, if data, schedule and code are the same.

    name: of `trained_encoder.KINDS`. rows: captions.csv. features: groups of photo features, in ascending order of the
    image ids. pretrained: the networks that gave them. resume_root: where unfinished runs are saved. files: those that
    `rows` and `features` were read from.
    """
    device = runtime.device()
    train_part = select(rows, features, train_splits)
    held_out = select(rows, features, ["test" if "val" in train_splits else "val"])
    space = joint_embedding.fit_picture_space(train_part.features, joint_embedding.EMBEDDING_DIM)
    torch.manual_seed(seed_for(schedule.seed, "text encoder weights"))
    network = trained_encoder.KINDS[name].fit(train_part.captions)
    pairs = Pairs(
        space(train_part.features), train_part.classes, network.tokens(train_part.captions), train_part.caption_photos
    )
    settings = [name, asdict(schedule), list(train_splits), runtime.arithmetic(device)]
    work = checkpoint.run_folder(resume_root, settings, files, ["text", "core"])
    with checkpoint.lock(work):
        losses = train(network, pairs, schedule, device, work)
        encoder = trained_encoder.save(folder, name, network, asdict(schedule), pretrained)
        metrics = {
            "encoder": name,
            "trained": True,
            "parameters": sum(weights.numel() for weights in network.parameters()),
            "train_classes": pairs.classes,
            "train_loss": round(losses[-1], 5),
        }
        if held_out.captions:
            texts = encoder.encode(held_out.captions, _ENCODED_AT_ONCE)
            measures = zero_shot.measure(space(held_out.features), held_out.classes, texts, held_out.caption_classes)
            metrics |= {key: round(value, 4) for key, value in measures.items()}
            # Zero-shot it is where none of these classes was trained on.
            metrics["n_classes_seen"] = int(torch.isin(held_out.classes.unique(), train_part.classes).sum())
        checkpoint.remove(work)
    return metrics
