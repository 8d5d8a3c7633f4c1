"""Features of real pictures, computed once: they stay as they are while training is searched."""

from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from textbloom.core import kept_results, runtime
from textbloom.core.tensors import sha256_of
from textbloom.features import extractors, lite0
from textbloom.features.extractors import Extractor, Features


def kept(extractor: Extractor, images: Tensor, what: str) -> Features:
    """What `extractor` gives for these, to the bit: read from an earlier evaluation's file where there is one.

    The file's name is of all that decides the features: network, layers, pictures, code, libraries, machine.
    """

    def compute() -> dict[str, Tensor]:
        found = extractor(images, what)
        return {"features": found.features} | ({} if found.logits is None else {"logits": found.logits})

    state = {name: value for name, value in extractor.network.state_dict().items() if isinstance(value, Tensor)}
    settings = [
        [extractor.network.get_name(), extractor.layer, extractor.logits_layer],
        sha256_of(state),
        sha256_of({"images": images}),
        [version(package) for package in ("torch-fidelity", "timm")],
        runtime.machine(extractor.device),
    ]
    tensors = kept_results.tensors(compute, settings, [Path(str(module.__file__)) for module in (extractors, lite0)])
    return Features(tensors["features"], tensors.get("logits"))
