"""A text encoder that the project trains itself: its folder, written by the stage text_encoder, and its use."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.files import write_json
from textbloom.core.progress import progress
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.text import TRAINED_HERE
from textbloom.text.bag_of_ngrams import NgramCoding
from textbloom.text.char_cnn_rnn import CharacterCoding
from textbloom.text.coding import Coding

CODINGS: Mapping[str, type[Coding]] = {"char-cnn-rnn": CharacterCoding, "bag-of-ngrams": NgramCoding}
_WEIGHTS, _CONFIG = "encoder.safetensors", "config.json"


@dataclass(frozen=True)
class TrainedEncoder:
    """A trained encoder, in the place of `text.encoder.Encoder`.

    `metadata`: name, revision "trained", sha256 of its weights file.
    """

    coding: Coding
    network: nn.Module
    metadata: dict[str, str]

    @torch.inference_mode()
    def encode(self, captions: list[str], batch_size: int) -> Tensor:
        """Embeddings float32 [n, 1024] on the CPU, row by row as `captions`. Equal captions are encoded once."""
        distinct = sorted(set(captions))
        device = next(self.network.parameters()).device
        parts = []
        with progress(None, "embed", "captions", len(distinct)) as bar:
            for batch in self.coding.codes(distinct).split(batch_size):
                parts.append(self.network(batch.to(device)).cpu())
                bar.update(len(batch))
        row = {caption: index for index, caption in enumerate(distinct)}
        return torch.cat(parts)[[row[caption] for caption in captions]]


def save(folder: Path, name: str, coding: Coding, network: nn.Module, facts: Mapping[str, Any]) -> TrainedEncoder:
    """Write the network and its config.json, to which `facts` (how it was trained) are added; returns it to encode."""
    save_tensors(folder / _WEIGHTS, network.state_dict())
    write_json(folder / _CONFIG, {"trained": True, "name": name, **coding.config, "training": dict(facts)})
    return load(folder)


def load(folder: Path) -> TrainedEncoder:
    """The encoder of `folder`, on the GPU where there is one. Raises UserError where there is none or another's."""
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise UserError(f"{path} is missing or damaged: run `make repro`, which makes it") from None
    if not config.get("trained"):
        names = " or ".join(TRAINED_HERE)
        raise UserError(f"{folder} holds no trained encoder: set encoder.name to {names} and run `make repro`")
    known = CODINGS.get(config["name"])
    coding = known.restore(config) if known else None
    if coding is None:
        raise UserError(f"{path}: name and coding are not this version's: run `make repro`, which trains it anew")
    weights = folder / _WEIGHTS
    network = coding.network()
    network.load_state_dict(load_tensors(weights))
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    metadata = {"name": config["name"], "revision": "trained", "sha256": digest}
    return TrainedEncoder(coding, network.to(runtime.device()).eval(), metadata)
