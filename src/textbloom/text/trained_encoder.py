"""A text encoder that the project trains itself: its folder, written by the stage text_encoder, and its use."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.files import read_json, sha256, write_json
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.text.bag_of_ngrams import BagOfNgrams
from textbloom.text.base import TrainedNetwork
from textbloom.text.char_cnn_rnn import CharCnnRnn

_WEIGHTS, _CONFIG = "encoder.safetensors", "config.json"
# The encoders that are trained here, by the name that `encoder.name` has for them.
KINDS: Mapping[str, type[TrainedNetwork]] = {"char-cnn-rnn": CharCnnRnn, "bag-of-ngrams": BagOfNgrams}


def save(
    folder: Path,
    name: str,
    network: TrainedNetwork,
    training: Mapping[str, Any],
    pretrained: Sequence[Mapping[str, str]] = (),
) -> TrainedNetwork:
    """Write the network and its config.json, and return the encoder.

    training: how it was trained. pretrained: the name and sha256 of each network that it learned from.
    """
    save_tensors(folder / _WEIGHTS, network.state_dict())
    facts = {"trained": True, "name": name, "training": dict(training), "pretrained": list(pretrained)}
    write_json(folder / _CONFIG, {**facts, "arguments": network.arguments})
    return load(folder)


def load(folder: Path) -> TrainedNetwork:
    """The encoder of `folder`, on the GPU where there is one. Raises UserError where there is none or another's.

    Its metadata are name, revision "trained", sha256 of its weights file, and `pretrained`: the name and sha256 of each
    network that it learned from.
    """
    path = folder / _CONFIG
    config = read_json(path)
    if config.get("trained") is False:
        names = " or ".join(KINDS)
        raise UserError(f"{folder} holds no trained encoder: set encoder.name to {names} and run `make repro`")
    weights = load_tensors(folder / _WEIGHTS)
    try:
        pretrained = [{key: part[key] for key in ("name", "sha256")} for part in config["pretrained"]]
        network = KINDS[config["name"]](**config["arguments"])
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} is damaged, another version's or not of {_WEIGHTS} ({reason}): run `make repro`, which makes it"
        ) from None
    network.metadata = {
        "name": config["name"],
        "revision": "trained",
        "sha256": sha256(folder / _WEIGHTS),
        "pretrained": pretrained,
    }
    return network.to(runtime.device()).eval()
