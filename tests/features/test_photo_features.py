"""Features of photos: what each group holds, in the order of the ids."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.features import efficientnet, photo_features
from textbloom.features.photo_features import NETWORK, SIDE, extract


@pytest.fixture
def _brightness_alone(monkeypatch):
    """Instead of what networks see: the mean brightness of each photo."""
    monkeypatch.setattr(
        photo_features, "read", lambda network, photos: {"last": photos.float().mean((1, 2, 3))[:, None]}
    )


def greys(image_ids: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Photos of brightness 10 × id."""
    return ((image_id, np.full((3, SIDE, SIDE), 10 * image_id, dtype=np.uint8)) for image_id in image_ids)


@pytest.mark.usefixtures("_brightness_alone")
def test_features_come_in_the_order_of_the_ids():
    ids = [2, 3, 5, 8, 9, 10, 11, 12, 13, 20]  # more than a batch
    features = extract(greys(ids[::-1]), ids)
    assert features["last"].flatten().tolist() == [10.0 * image_id for image_id in ids]


@pytest.mark.usefixtures("_brightness_alone")
def test_an_id_without_a_photo_is_named():
    with pytest.raises(UserError, match="names image 7, but there is no photo of it: run `make repro`"):
        extract(greys([3]), [3, 7, 9])


def test_colours_are_the_roots_of_their_shares_in_the_middle():
    pictures = torch.zeros(2, 3, 224, 224, dtype=torch.uint8)
    pictures[0, 0, :, :112] = 255  # left half red, right half black
    pictures[1, :, :40] = 200  # only outside the middle
    shares = photo_features.colours(pictures)
    assert shares.shape == (2, 64)
    assert shares[0, 48].item() == pytest.approx(0.5**0.5) and shares[0, 0].item() == pytest.approx(0.5**0.5)
    assert shares[1, 0].item() == 1.0
    torch.testing.assert_close(shares.norm(dim=1), torch.ones(2))


@torch.inference_mode()
def test_the_reader_gives_the_extractors_last_layer_and_every_stages_mean_and_deviation():
    photos = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    groups = photo_features.read(efficientnet.network(NETWORK), photos)
    shapes = {name: tuple(values.shape) for name, values in groups.items()}
    assert shapes == {"last": (2, 1280), "stages": (2, 1568), "colours": (2, 64)}

    extractor = efficientnet.EfficientNet(NETWORK, ["1280"]).eval()
    maps: list[Tensor] = []
    for stage in extractor.network.blocks:
        stage.register_forward_hook(lambda module, inputs, output: maps.append(output))
    (pooled,) = extractor(photos)
    torch.testing.assert_close(groups["last"], pooled, atol=1e-4, rtol=1e-4)
    expected = torch.cat([part for m in maps for part in (m.mean((2, 3)), m.std((2, 3)))], 1)
    torch.testing.assert_close(groups["stages"], expected, atol=1e-4, rtol=1e-4)
