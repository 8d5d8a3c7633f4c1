"""Features of real pictures, computed once: they stay as they are while training is searched."""

import os
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from textbloom import paths, run_folder
from textbloom.evaluation import extractors, lite0
from textbloom.evaluation.extractors import Extractor, Features
from textbloom.tensors import load_tensors, save_tensors, sha256_of


def kept(extractor: Extractor, images: Tensor, what: str) -> Features:
    """What `extractor` gives for these, to the bit: read from an earlier evaluation's file where there is one.

    The file's name is of all that decides the features: network, layers, pictures, code, libraries, device, threads.
    """
    state = {name: value for name, value in extractor.network.state_dict().items() if isinstance(value, Tensor)}
    machine = [str(extractor.device), torch.get_num_threads(), torch.backends.mkldnn.enabled]
    machine += [version(package) for package in ("torch", "torch-fidelity", "timm")]
    layers = [extractor.network.get_name(), extractor.layer, extractor.logits_layer]
    settings = [layers, sha256_of(state), sha256_of({"images": images}), machine]
    name = run_folder.fingerprint(settings, [Path(str(module.__file__)) for module in (extractors, lite0)])
    path = Path(os.environ.get("DVC_ROOT", ".")) / paths.KEPT_FEATURES / f"{name}.safetensors"
    if not path.exists():
        found = extractor(images, what)
        logits = {} if found.logits is None else {"logits": found.logits}
        save_tensors(path, {"features": found.features, **logits})
    tensors = load_tensors(path)
    return Features(tensors["features"], tensors.get("logits"))
