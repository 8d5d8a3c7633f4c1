"""A text encoder that the project trains itself: its folder, written by the stage text_encoder, and its use."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.files import write_json
from textbloom.core.progress import progress
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.text.bag_of_ngrams import NgramTokenizer
from textbloom.text.char_cnn_rnn import CharacterTokenizer

_WEIGHTS, _CONFIG = "encoder.safetensors", "config.json"


class Tokenizer(Protocol):
    """What each kind of encoder brings, so that one training, one folder and one measure serve them all."""

    @classmethod
    def fit(cls, captions: Sequence[str]) -> Self:
        """The tokenizer of an encoder that is to be trained on `captions`. Raises UserError when they are too few."""
        ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self | None:
        """The tokenizer whose `config` this is, or None when this version cannot read it."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """All that `from_config` needs, for JSON."""
        ...

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Captions as integers [n, L], row by row."""
        ...

    def network(self) -> nn.Module:
        """A fresh network: tokens [B, L] to float32 [B, EMBEDDING_DIM], of any length and sign."""
        ...


# The encoders that are trained here, by the name that `encoder.name` has for them.
KINDS: Mapping[str, type[Tokenizer]] = {"char-cnn-rnn": CharacterTokenizer, "bag-of-ngrams": NgramTokenizer}


@dataclass(frozen=True)
class TrainedEncoder:
    """A trained encoder.

    metadata: name, revision "trained", sha256 of its weights file, and `pretrained`: the name and sha256 of each
    network that it learned from.
    """

    tokenizer: Tokenizer
    network: nn.Module
    metadata: dict[str, Any]

    @torch.inference_mode()
    def encode(self, captions: list[str], batch_size: int) -> Tensor:
        """Embeddings float32 [n, 1024] on the CPU, row by row as `captions`. Equal captions are encoded once."""
        distinct = sorted(set(captions))
        device = next(self.network.parameters()).device
        parts = []
        with progress(None, "embed", "captions", len(distinct)) as bar:
            for tokens in self.tokenizer(distinct).split(batch_size):
                parts.append(self.network(tokens.to(device)).cpu())
                bar.update(len(tokens))
        row = {caption: index for index, caption in enumerate(distinct)}
        return torch.cat(parts)[[row[caption] for caption in captions]]


def save(
    folder: Path,
    name: str,
    tokenizer: Tokenizer,
    network: nn.Module,
    training: Mapping[str, Any],
    pretrained: Sequence[Mapping[str, str]] = (),
) -> TrainedEncoder:
    """Write the network and its config.json, and return the encoder.

    training: how it was trained. pretrained: the name and sha256 of each network that it learned from.
    """
    save_tensors(folder / _WEIGHTS, network.state_dict())
    facts = {"trained": True, "name": name, "training": dict(training), "pretrained": list(pretrained)}
    write_json(folder / _CONFIG, facts | tokenizer.config)
    return load(folder)


def load(folder: Path) -> TrainedEncoder:
    """The encoder of `folder`, on the GPU where there is one. Raises UserError where there is none or another's."""
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise UserError(f"{path} is missing or damaged: run `make repro`, which makes it") from None
    if not config.get("trained"):
        names = " or ".join(KINDS)
        raise UserError(f"{folder} holds no trained encoder: set encoder.name to {names} and run `make repro`")
    kind = KINDS.get(config["name"])
    tokenizer = kind.from_config(config) if kind else None
    if tokenizer is None:
        raise UserError(f"{path}: name and tokens are not this version's: run `make repro`, which trains it anew")
    network = tokenizer.network()
    network.load_state_dict(load_tensors(folder / _WEIGHTS))
    digest = hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest()
    metadata = {
        "name": config["name"],
        "revision": "trained",
        "sha256": digest,
        "pretrained": config["pretrained"],
    }
    return TrainedEncoder(tokenizer, network.to(runtime.device()).eval(), metadata)
