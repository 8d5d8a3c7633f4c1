"""A prepared project that is quick to judge: pictures that show their captions, features that are mean colours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorBase

from textbloom import config, models
from textbloom.core.tensors import load_image_ids, load_tensors, save_tensors
from textbloom.core.trained_folder import save_networks
from textbloom.dataset.eval_split import load_eval_split
from textbloom.features import extractor
from textbloom.metrics import base, diversity
from textbloom.metrics.evaluator import Evaluator
from textbloom.text import TextEncoder

ROOT = Path(__file__).parents[2]
TRAIN, TEST = 130, 120  # pictures of each split; 20 of the training ones are of split val
OVERRIDES = ["data.dataset=flowers102", "evaluate.samples=110", "evaluate.extractor=coarse"]
ENCODER = {"name": "any", "sha256": "0" * 64}
NETWORK: dict[str, Any] = {
    "name": "dcgan", "size": 64, "embedding_dim": 12, "noise_dim": 5, "features": 2, "text_projection": 4,
    "discriminator_text": True,
}  # fmt: skip


class Coarse(FeatureExtractorBase):
    """A quick extractor without a classifier: the picture at 2 × 2."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1),)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("coarse",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "coarse"


class Classifier(Coarse):
    """The same with class scores."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pooled = super().forward(images)[0]
        layers = {"coarse": pooled, "logits": 5 * pooled}
        return tuple(layers[layer] for layer in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "coarse", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "coarse"


def quick(patch: pytest.MonkeyPatch) -> None:
    """Let an evaluation be short, for tests that look neither at how sure its values are nor at variety."""
    patch.setattr(diversity, "CAPTIONS", 2)
    patch.setattr(base, "RESAMPLES", 20)


def flat_pictures(embeddings: Tensor) -> Tensor:
    """Pictures uint8 [N, 3, 64, 64] that show their captions: each quarter has a colour made of the embedding."""
    quarters = embeddings.sigmoid().mul(255).to(torch.uint8).view(-1, 3, 2, 2)
    return torch.nn.functional.interpolate(quarters, 64)


def write(folder: Path) -> None:
    """Parameters, data whose pictures show their captions, and an untrained tiny generator."""
    (folder / "data").mkdir(parents=True)
    (folder / config.PARAMS).write_bytes((ROOT / "params.yaml").read_bytes())
    config.apply(None, OVERRIDES, folder / config.PARAMS)
    count = TRAIN + TEST
    splits = ["train"] * (TRAIN - 20) + ["val"] * 20 + ["test"] * TEST
    rows = [f"{i + 1},{i % 7},{split},0,flower {i}" for i, split in enumerate(splits)]
    (folder / config.CAPTIONS).write_text("\n".join(["image_id,class_id,split,caption_index,caption", *rows, ""]))
    (folder / config.IMAGE_IDS).write_text("\n".join(["image_id", *(str(i + 1) for i in range(count)), ""]))
    embeddings = torch.randn(count, 12)
    save_tensors(folder / config.EMBEDDINGS, {"embeddings": embeddings}, {"encoder": ENCODER})
    save_tensors(folder / config.IMAGES, {"images": flat_pictures(embeddings)})
    write_generator(folder)


def write_real_features(folder: Path) -> None:
    """What the features stage writes, of the pictures and the extractor that the project has now."""
    chosen = config.load(folder / config.PARAMS).evaluate
    judge = extractor.load(chosen.extractor, chosen.weights, chosen.layer)
    images = load_tensors(folder / config.IMAGES)["images"]
    extractor.write_real_features(folder / config.REAL_FEATURES, judge, images)


class Words(TextEncoder):
    """A text encoder for the captions `flower 0`, `flower 1`, …: the vectors that the project was prepared with."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {"name": "words", "sha256": "2" * 64}

    def encoded(self, captions: list[str], batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        yield captions, load_tensors(config.EMBEDDINGS)["embeddings"][[int(text.split()[1]) for text in captions]]


def evaluator(samples: int = 100, seed: int = 1, attributes: Path | None = None, **options: bool) -> Evaluator:
    """The evaluator of the project that is the working folder."""
    split = load_eval_split(config.PREPARED, split="test", train_splits=("train", "val"), seed=seed, size=64)
    judge = extractor.load("coarse", None, None)
    features = extractor.read_real_features(config.REAL_FEATURES, judge, 64)
    ids = load_image_ids(config.IMAGE_IDS)
    return Evaluator(judge, features, ids, split, Words(), samples=samples, seed=seed, attributes=attributes, **options)


def write_generator(folder: Path, **changed: Any) -> None:
    """An untrained generator of NETWORK with `changed`, its averaged weights another one's."""
    network = NETWORK | changed
    generator, discriminator = models.build(**network)
    averaged, _ = models.build(**network)
    save_networks(folder / config.BASE, generator, averaged, discriminator, {"network": network, "encoder": ENCODER})
