"""Each fault of pictures moves the measure that is there for it: on the drawn flowers, through the embedded judge."""

from collections.abc import Callable

import pytest
import torch
from support import prepared_project
from torch import Tensor
from torch.nn.functional import avg_pool2d

from textbloom import config
from textbloom.core.tensors import load_image_ids, load_metadata
from textbloom.dataset.eval_split import load_eval_split
from textbloom.features import extractor
from textbloom.metrics.evaluator import Evaluator
from textbloom.text import pretrained


@pytest.fixture(scope="module")
def evaluator(built) -> Evaluator:
    captions, images, image_ids, embeddings = (built.folder / path for path in config.PREPARED)
    files = (captions, images, image_ids, embeddings)
    judge = extractor.load("efficientnet-lite0", None, None)
    return Evaluator(
        judge,
        extractor.read_real_features(built.folder / config.REAL_FEATURES, judge, 64),
        load_image_ids(built.folder / config.IMAGE_IDS),
        load_eval_split(files, split="test", train_splits=("train", "val"), seed=1, size=64),
        pretrained.load("all-MiniLM-L6-v2"),
        samples=100,
        seed=1,
        attributes=built.folder / config.raw("drawn"),
    )


@pytest.fixture(scope="module")
def measured(built, evaluator: Evaluator) -> Callable[[Callable[[Tensor], Tensor]], dict[str, float]]:
    """The measures of the real pictures after a change; a further draw of a caption is a picture of its class."""
    found: dict[object, dict[str, float]] = {}
    trained = load_metadata(built.folder / config.EMBEDDINGS) | {"pretrained": []}
    classes = torch.from_numpy(evaluator.real.split.pictures.class_ids[evaluator.real.rows.numpy()])
    images = evaluator.real.images

    def measure(change: Callable[[Tensor], Tensor]) -> dict[str, float]:
        def make(places: Tensor, draw: int) -> Tensor:
            alike = [(classes == classes[place]).nonzero()[:, 0].roll(-place - draw) for place in places]
            chosen = torch.stack([rows[0] for rows in alike]) if draw else places
            return change(images)[chosen]

        if change not in found:
            with pytest.MonkeyPatch.context() as patch:
                if change is not unchanged:  # whose diversity alone is looked at
                    prepared_project.quick(patch)
                found[change] = evaluator.measure(make, trained).metrics
        return found[change]

    return measure


def unchanged(images: Tensor) -> Tensor:
    return images


def blurred(images: Tensor) -> Tensor:
    return avg_pool2d(images.float(), 5, stride=1, padding=2, count_include_pad=False).round().to(torch.uint8)


def noisy(images: Tensor) -> Tensor:
    noise = 25 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images.float() + noise).round().clamp(0, 255).to(torch.uint8)


def of_few_flowers(images: Tensor) -> Tensor:
    """Every picture is one of ten."""
    return images[torch.arange(len(images)) % 10]


def of_other_captions(images: Tensor) -> Tensor:
    return images.roll(len(images) // 2, 0)


def test_the_real_pictures_reach_every_ceiling(measured):
    found = measured(unchanged)
    assert found["frechet_distance"] == pytest.approx(0, abs=0.05) and found["floor"] > 1
    assert (found["precision"], found["recall"]) == (1, 1)
    for name in ("retrieval_at_10", "petal_colour_accuracy", "centre_colour_accuracy"):
        assert found[name] == found[f"{name}_real"]
    assert found["memorisation"] == pytest.approx(0.05, abs=0.02)
    assert found["diversity"] == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("change", [blurred, noisy])
def test_blur_and_noise_raise_the_distances_and_lower_precision(measured, change):
    good, bad = measured(unchanged), measured(change)
    assert bad["frechet_distance"] > good["floor"]
    assert bad["kernel_distance"] > good["kernel_distance"] + 0.01
    assert bad["precision"] < 0.9
    assert bad["retrieval_at_10"] < good["retrieval_at_10"]


def test_dropped_flowers_lower_recall_and_leave_precision(measured):
    good, bad = measured(unchanged), measured(of_few_flowers)
    assert bad["precision"] == 1
    assert bad["recall"] < 0.7 < good["recall"]
    assert bad["frechet_distance"] > good["floor"]


def test_swapped_captions_lower_retrieval_and_colours_to_chance_and_leave_the_distances(measured):
    good, bad = measured(unchanged), measured(of_other_captions)
    assert bad["frechet_distance"] == pytest.approx(good["frechet_distance"], abs=0.05)
    assert bad["retrieval_at_10"] < (good["retrieval_at_10"] + good["retrieval_at_10_shuffled"]) / 2
    assert bad["petal_colour_accuracy"] < 0.4
