"""The feature extractor used for evaluation: any of torch-fidelity's, chosen by name, loaded safely."""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.files import refuse_pointer, sha256
from textbloom.core.progress import progress
from textbloom.core.tensors import load_metadata, load_tensors, save_tensors, sha256_of
from textbloom.features import efficientnet, inception

# The extractors whose local weights file torch-fidelity reads as a plain table of tensors.
_TAKE_WEIGHTS = (inception.NAME, "vgg16")
# The sha256 of the extractors' own weights files, where this project checks them.
_PUBLISHED = {name: variant.sha256 for name, variant in efficientnet.VARIANTS.items()}
_PUBLISHED[inception.NAME] = inception.PUBLISHED_SHA256
_BATCH = {"cpu": 8, "cuda": 64}  # a batch of 64 does not fit a CPU's caches and halves its speed


@dataclass(frozen=True)
class Features:
    """What an extractor sees in N pictures, float32 on the CPU.

    features: [N, F], the layer that distances are taken in.
    logits: [N, C], unnormalised class scores; None where the extractor has no classifier.
    """

    features: Tensor
    logits: Tensor | None

    def __getitem__(self, rows: Tensor) -> "Features":
        """The features of the pictures `rows`, int64 [n]."""
        return Features(self.features[rows], None if self.logits is None else self.logits[rows])


@dataclass(frozen=True)
class Extractor:
    """A frozen network and the layers to read from it.

    layer: name of the feature layer.
    logits_layer: name of the layer of class scores; None where there is none to trust.
    sha256: of the weights file; of an extractor that torch-fidelity fetches by itself, of the weights in memory.
    """

    network: FeatureExtractorBase
    layer: str
    logits_layer: str | None
    sha256: str
    device: torch.device

    @property
    def name(self) -> str:
        """The name that `evaluate.extractor` has for it."""
        return self.network.get_name()

    @torch.inference_mode()
    def __call__(self, images: Tensor, what: str, hidden: bool = False) -> Features:
        """Features of pictures uint8 [N, 3, H, W]; `what` names them on the progress bar, unless that is `hidden`.

        Features that are not finite are a UserError: only broken weights give them.
        """
        collected: dict[str, list[Tensor]] = {name: [] for name in self.network.get_requested_features_list()}
        # No TF32 on the GPU: its ten bits of mantissa would make a measure depend on the card.
        full = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with progress(None, f"features of {what}", "images", len(images), hidden) as bar, full:
            for batch in images.split(_BATCH[self.device.type]):
                outputs = self.network.convert_features_tuple_to_dict(self.network(batch.to(self.device)))
                for name, output in outputs.items():
                    collected[name].append(output.cpu())
                bar.update(len(batch))
        tensors = {name: torch.cat(parts) for name, parts in collected.items()}
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise UserError(
                    f"evaluate.weights: layer {name} of {self.name} is not finite for the {what}: the weights are "
                    "broken, take another file"
                )
        return Features(tensors[self.layer], tensors[self.logits_layer] if self.logits_layer else None)


def load(name: str, weights: str | None, layer: str | None) -> Extractor:
    """The extractor `name`, on the GPU where there is one.

    Args:
        name: one of torch-fidelity's registry, to which this project adds its own.
        weights: a local weights file; None for the extractor's own, which are installed (EfficientNet) or fetched once.
        layer: the feature layer; None for the extractor's default.

    Raises UserError for an unknown name or layer, for weights that are missing, damaged, unsafe to read or do not reach
    the layer, and where the extractor's own cannot be fetched.
    """
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        raise UserError(
            f"evaluate.extractor: {name!r} is unknown; there are: {', '.join(sorted(FEATURE_EXTRACTORS_REGISTRY))}"
        )
    kind = FEATURE_EXTRACTORS_REGISTRY[name]
    provided = list(kind.get_provided_features_list())
    wanted = layer or kind.get_default_feature_layer_for_metric("fid")
    if wanted not in provided:
        raise UserError(f"evaluate.layer: {name} has no layer {wanted!r}; there are: {', '.join(provided)}")
    usable, digest = _check_weights(name, weights) if weights else (provided, _PUBLISHED.get(name))
    if wanted not in usable:
        raise UserError(
            f"evaluate.weights: {weights} holds only zeros on the way to layer {wanted}, which means nothing with it: "
            f"take a complete file{', or set evaluate.layer to ' if usable else ''}{' or '.join(map(repr, usable))}"
        )
    scores = kind.get_default_feature_layer_for_metric("isc")
    # For extractors without a classifier torch-fidelity offers their features in place of class scores.
    logits = scores if scores.startswith("logits") and scores in usable else None
    network = _create(name, list(dict.fromkeys([wanted, logits] if logits else [wanted])), weights)
    digest = digest or sha256_of({k: v for k, v in network.state_dict().items() if isinstance(v, Tensor)})
    device = runtime.device()
    return Extractor(network.to(device), wanted, logits, digest, device)


def _check_weights(name: str, weights: str) -> tuple[list[str], str]:
    """Refuse a file that is no plain table of tensors; return the layers that it reaches and its sha256."""
    if name not in _TAKE_WEIGHTS:
        raise UserError(f"evaluate.weights: {name} takes no local file; set it to null")
    try:
        refuse_pointer(weights)
        digest = sha256(Path(weights))
    except OSError as error:
        raise UserError(f"evaluate.weights: {weights} cannot be read: {error.strerror}") from None
    table: object = None
    with warnings.catch_warnings(action="ignore"), suppress(Exception):
        # torch-fidelity unpickles whatever the file holds, so it is first read with the unpickler that runs no code.
        # On bytes that are no table of tensors that one raises nearly any exception.
        table = torch.load(weights, weights_only=True, map_location="cpu")
    if not isinstance(table, dict) or not all(isinstance(tensor, Tensor) for tensor in table.values()):
        raise UserError(
            f"evaluate.weights: {weights} is damaged or not a plain table of tensors (nothing else is read, since that "
            "could run code): save the network's state_dict"
        )
    if name == inception.NAME:
        return inception.usable_layers(table), digest
    return list(FEATURE_EXTRACTORS_REGISTRY[name].get_provided_features_list()), digest


def _create(name: str, layers: list[str], weights: str | None) -> FeatureExtractorBase:
    try:
        path = str(inception.published()) if weights is None and name == inception.NAME else weights
        return create_feature_extractor(name, layers, cuda=False, verbose=False, feature_extractor_weights_path=path)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        if weights:
            raise UserError(f"evaluate.weights: {weights} does not fit {name} ({reason})") from None
        raise UserError(
            f"evaluate.extractor: the weights of {name} cannot be fetched ({reason}): connect to the internet, "
            f"give a local file by evaluate.weights, or set evaluate.extractor to {efficientnet.DEFAULT}"
        ) from None


def write_real_features(path: Path, extractor: Extractor, images: Tensor) -> None:
    """Write the features of the pictures uint8 [N, 3, S, S] to a tensor file that `read_real_features` reads."""
    found = extractor(images, "real pictures")
    tensors = {"features": found.features} | ({} if found.logits is None else {"logits": found.logits})
    save_tensors(path, tensors, _origin(extractor, images.shape[-1]))


def read_real_features(path: Path, extractor: Extractor, image_size: int) -> Features:
    """Read what `write_real_features` wrote: the features of all prepared pictures, in the order of image_ids.csv.

    Raises UserError for a file that is missing, damaged, or of another extractor or size of pictures.
    """
    origin, wanted = load_metadata(path), _origin(extractor, image_size)
    if origin["sha256"] != extractor.sha256 and origin["extractor"] == extractor.name:
        raise UserError(
            f"evaluate.weights: the file has changed since {path} was made with it: run `make repro "
            'ARGS="--force --single-item features"`, then `make repro`'
        )
    if origin != wanted:
        raise UserError(f"{path} is of another extractor, layer or picture size: run `make repro`")
    tensors = load_tensors(path)
    return Features(tensors["features"], tensors.get("logits"))


def _origin(extractor: Extractor, image_size: int) -> dict[str, object]:
    return {"extractor": extractor.name, "layer": extractor.layer, "sha256": extractor.sha256, "image_size": image_size}
