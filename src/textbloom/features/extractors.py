"""Picture features through torch-fidelity's extractors: chosen by name, loaded safely, run once a picture."""

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.features import inception_weights, lite0

# Those of which torch-fidelity reads a local file as a plain table of tensors.
_TAKE_WEIGHTS = (inception_weights.NAME, "vgg16")
_BATCH = {"cpu": 8, "cuda": 64}  # a batch of 64 leaves the CPU's caches and halves its speed


@dataclass(frozen=True)
class Features:
    """What an extractor sees in N pictures, float32 on the CPU.

    features: [N, F], the layer that distances are taken in.
    logits: [N, C], unnormalised class scores; None where the extractor has no classifier.
    """

    features: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class Extractor:
    """A frozen network with the layers to read from it.

    layer: name of the feature layer.
    logits_layer: name of the class scores' layer; None where there is none to trust.
    """

    network: FeatureExtractorBase
    layer: str
    logits_layer: str | None
    device: torch.device

    @torch.inference_mode()
    def __call__(self, images: Tensor, what: str) -> Features:
        """Features of pictures uint8 [N, 3, H, W]; `what` names them on the progress bar.

        Features that are not finite are a UserError: only broken weights give them.
        """
        collected: dict[str, list[Tensor]] = {name: [] for name in self.network.get_requested_features_list()}
        with progress(None, f"features of {what}", "images", len(images)) as bar:
            for batch in images.split(_BATCH[self.device.type]):
                outputs = self.network.convert_features_tuple_to_dict(self.network(batch.to(self.device)))
                for name, output in outputs.items():
                    collected[name].append(output.cpu())
                bar.update(len(batch))
        tensors = {name: torch.cat(parts) for name, parts in collected.items()}
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise UserError(
                    f"evaluate.weights: layer {name} of {self.network.get_name()} is not finite for the {what}: "
                    "the weights are broken, take another file"
                )
        return Features(tensors[self.layer], tensors[self.logits_layer] if self.logits_layer else None)


def known() -> list[str]:
    """Names of all extractors: torch-fidelity's and this project's."""
    lite0.register()
    return sorted(FEATURE_EXTRACTORS_REGISTRY)


def load(name: str, weights: str | None, layer: str | None) -> Extractor:
    """The extractor `name`, on the GPU where there is one.

    Args:
        name: one of `known()`.
        weights: a local weights file; None for the extractor's own, installed (EfficientNet-Lite0) or fetched once.
        layer: the feature layer; None for the extractor's default.

    Raises UserError for an unknown name or layer, for weights that are missing, damaged, unsafe to read or do not reach
    the layer, and where the extractor's own cannot be fetched.
    """
    if name not in known():
        raise UserError(f"evaluate.extractor: {name!r} is unknown; there are: {', '.join(known())}")
    provided = FEATURE_EXTRACTORS_REGISTRY[name].get_provided_features_list()
    wanted = layer or FEATURE_EXTRACTORS_REGISTRY[name].get_default_feature_layer_for_metric("fid")
    if wanted not in provided:
        raise UserError(f"evaluate.layer: {name} has no layer {wanted!r}; there are: {', '.join(provided)}")
    usable = _check_weights(name, weights) if weights else list(provided)
    if wanted not in usable:
        raise UserError(
            f"evaluate.weights: {weights} holds only zeros on the way to layer {wanted}, which means nothing with it: "
            f"take a complete file{', or set evaluate.layer to ' if usable else ''}{' or '.join(map(repr, usable))}"
        )
    scores = FEATURE_EXTRACTORS_REGISTRY[name].get_default_feature_layer_for_metric("isc")
    # For extractors without a classifier torch-fidelity offers their features in place of class scores.
    logits = scores if scores.startswith("logits") and scores in usable else None
    device = runtime.device()
    network = _create(name, list(dict.fromkeys([wanted, logits] if logits else [wanted])), weights, device)
    return Extractor(network, wanted, logits, device)


def _check_weights(name: str, weights: str) -> list[str]:
    """Refuse a file that is no plain table of tensors; return the layers that it reaches."""
    if name not in _TAKE_WEIGHTS:
        raise UserError(f"evaluate.weights: {name} takes no local file; set it to null")
    table: object = None
    try:
        with open(weights, "rb") as file, warnings.catch_warnings(action="ignore"), suppress(Exception):
            # torch-fidelity unpickles whatever the file holds: look first, with the unpickler that runs no code. It has
            # many ways to fail on bytes that are no table of tensors, and all of them mean just that.
            table = torch.load(io.BytesIO(file.read()), weights_only=True, map_location="cpu")
    except OSError as error:
        raise UserError(f"evaluate.weights: {weights} cannot be read: {error.strerror}") from None
    if not isinstance(table, dict) or not all(isinstance(tensor, Tensor) for tensor in table.values()):
        raise UserError(
            f"evaluate.weights: {weights} is damaged or not a plain table of tensors (nothing else is read, since that "
            "could run code): save the network's state_dict"
        )
    if name == inception_weights.NAME:
        return inception_weights.usable_layers(table)
    return list(FEATURE_EXTRACTORS_REGISTRY[name].get_provided_features_list())


def _create(name: str, layers: list[str], weights: str | None, device: torch.device) -> FeatureExtractorBase:
    try:
        path = str(inception_weights.published()) if weights is None and name == inception_weights.NAME else weights
        network = create_feature_extractor(name, layers, cuda=False, verbose=False, feature_extractor_weights_path=path)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        if weights:
            raise UserError(f"evaluate.weights: {weights} does not fit {name} ({reason})") from None
        raise UserError(
            f"evaluate.extractor: the weights of {name} cannot be fetched ({reason}): connect to the internet, "
            f"give a local file by evaluate.weights, or set evaluate.extractor to {lite0.NAME}"
        ) from None
    return network.to(device)
