"""One training of the text encoder from data to its folder and metrics, resumable."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from textbloom.core import paths, resume, runtime
from textbloom.core.seeding import seed_for
from textbloom.text import coding, encoder_data, encoder_training, picture_space, trained_encoder, zero_shot

_ENCODED_AT_ONCE = 64  # captions


def train_and_measure(
    name: str,
    rows: pd.DataFrame,
    image_ids: Sequence[int],
    features: Mapping[str, Tensor],
    train_splits: Sequence[str],
    schedule: encoder_training.Schedule,
    folder: Path,
) -> dict[str, Any]:
    """Train on `train_splits`, write the encoder to `folder`, and return its metrics on a split that is not among them.

    That split is val where training leaves it out, so that encoders are chosen without a look at test; else it is test.

    name: one of TRAINED_HERE. rows: captions.csv. features: groups of `picture_features`, in the order of `image_ids`,
    ascending.
    A run that was killed goes on where it stopped, if data, schedule and code are the same.
    """
    device = runtime.device()
    train = encoder_data.select(rows, image_ids, features, train_splits)
    held_out = "test" if "val" in train_splits else "val"
    test = encoder_data.select(rows, image_ids, features, (held_out,))
    space = picture_space.fit(train.features, coding.EMBEDDING_DIM)
    coder = trained_encoder.CODINGS[name].learn(train.captions)
    pairs = encoder_training.Pairs(
        space(train.features), train.classes, coder.codes(train.captions), train.caption_pictures
    )
    torch.manual_seed(seed_for(schedule.seed, "text encoder weights"))
    trainer = encoder_training.EncoderTrainer(coder.network(), pairs, schedule, device)
    work = _run_folder(name, rows, features, train_splits, schedule, device)
    with resume.lock(work):
        losses = encoder_training.train(trainer, work)
        encoder = trained_encoder.save(folder, name, coder, trainer.network, asdict(schedule))
        metrics = {
            "encoder": name,
            "trained": True,
            "parameters": sum(weights.numel() for weights in trainer.network.parameters()),
            "train_classes": pairs.classes,
            "train_loss": round(losses[-1], 5),
            **_zero_shot(encoder, space, train, test),
        }
        resume.remove(work)
    return metrics


def _zero_shot(
    encoder: trained_encoder.TrainedEncoder,
    space: picture_space.PictureSpace,
    train: encoder_data.Part,
    test: encoder_data.Part,
) -> dict[str, float | int]:
    """The measures of `zero_shot`, rounded, and how many of the test classes were trained on: 0 makes it zero-shot."""
    if not test.captions:
        return {}
    texts = encoder.encode(test.captions, _ENCODED_AT_ONCE)
    measures = zero_shot.measure(space(test.features), test.classes, texts, test.caption_classes)
    seen = torch.isin(test.classes.unique(), train.classes).sum()
    return {key: round(value, 4) for key, value in measures.items()} | {"n_classes_seen": int(seen)}


def _run_folder(
    name: str,
    rows: pd.DataFrame,
    features: Mapping[str, Tensor],
    train_splits: Sequence[str],
    schedule: encoder_training.Schedule,
    device: torch.device,
) -> Path:
    parts = [rows.to_csv().encode(), *(values.contiguous().numpy().tobytes() for values in features.values())]
    data = [hashlib.sha256(part).hexdigest() for part in parts]
    settings = [name, asdict(schedule), list(train_splits), data, runtime.arithmetic(device)]
    return resume.resume_folder(paths.main_workspace(paths.RESUME), settings, [], ["text", "features", "core"])
