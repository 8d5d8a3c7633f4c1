"""The Inception network that FID is defined by: its published weights, and which layers a local file reaches."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from textbloom.core.errors import UserError
from textbloom.core.files import sha256

NAME = "inception-v3-compat"
PUBLISHED_URL = URL_INCEPTION_V3
PUBLISHED_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_MIXED = tuple(f"Mixed_{name}" for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"))
BLOCKS = (*_STEM, *_MIXED, "fc")  # in the order that a picture passes them
_LAST_BLOCK = {"64": "Conv2d_2b_3x3", "192": "Conv2d_4a_3x3", "768": "Mixed_6e", "2048": "Mixed_7c"}  # else fc


def published() -> Path:
    """The published weights in torch's own download folder, fetched when absent, checked whenever used.

    Raises OSError or RuntimeError where they cannot be fetched whole, UserError where another file is in their place.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(PUBLISHED_URL).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(PUBLISHED_URL, str(path), PUBLISHED_SHA256, progress=sys.stderr.isatty())
    if sha256(path) != PUBLISHED_SHA256:
        raise UserError(f"{path} is not the published file (sha256 differs): delete it and run again")
    return path


def usable_layers(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the layers that every convolution on the way to them has weights for, shallowest first.

    A file may hold the network only up to some block, with zeros after it: a layer behind zeros is constant, and any
    distance between constants is a meaningless 0.
    """
    empty = {name.split(".")[0] for name, tensor in weights.items() if tensor.dim() > 1 and not tensor.any()}
    filled = next((index for index, block in enumerate(BLOCKS) if block in empty), len(BLOCKS))
    layers = FeatureExtractorInceptionV3.get_provided_features_list()
    return [layer for layer in layers if BLOCKS.index(_LAST_BLOCK.get(layer, "fc")) < filled]
