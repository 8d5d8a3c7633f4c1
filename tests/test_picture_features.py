"""Features of photos: both views, in the order of the ids, computed once."""

import io

import pytest
import torch
from PIL import Image

from textbloom.datasets.base import Photo
from textbloom.errors import UserError
from textbloom.text import picture_features


class LeftAndRight:
    """Stands in for an extractor: the mean brightness of each picture's left and right half."""

    layer, device = "halves", torch.device("cpu")

    def __init__(self) -> None:
        self.network = self
        self.seen = 0

    def __call__(self, pictures):
        self.seen += len(pictures)
        assert pictures.shape[1:] == (3, 224, 224) and pictures.dtype == torch.uint8
        return (torch.stack([half.float().mean((1, 2, 3)) for half in pictures.chunk(2, dim=3)], dim=1),)

    def convert_features_tuple_to_dict(self, outputs):
        return {"halves": outputs[0]}

    def get_name(self):
        return "left-and-right"


def photo(image_id: int) -> Photo:
    """Left half of brightness 10 × id, right half black."""
    picture = Image.new("RGB", (40, 30))
    picture.paste((10 * image_id,) * 3, (0, 0, 20, 30))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Photo(image_id, f"{image_id}.png", buffer.getvalue())


def test_features_come_in_the_order_of_the_ids_with_the_mirror_image_as_second_view():
    photos = [photo(image_id) for image_id in range(20, 0, -1)]  # more than a chunk, in another order
    ids = [2, 3, 5, 8, 9, 10, 11, 12, 13, 20]
    features = picture_features.extract(photos, ids, LeftAndRight())
    assert features.shape == (2, 10, 2)
    torch.testing.assert_close(features[0, :, 0], 10.0 * torch.tensor(ids), atol=2.0, rtol=0)
    assert features[0, :, 1].max() < 2
    torch.testing.assert_close(features[1], features[0].flip(1), atol=0.5, rtol=0)


def test_an_id_without_a_photo_is_named():
    with pytest.raises(UserError, match="names image 7, but the archive has no photo of it"):
        picture_features.extract([photo(3)], [3, 7, 9], LeftAndRight())


def test_features_are_computed_once_for_the_same_archives_and_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    manifest = tmp_path / "manifest.json"
    manifest.write_text("one")
    extractor = LeftAndRight()
    first = picture_features.kept([photo(3), photo(4)], [3, 4], extractor, manifest)
    assert torch.equal(first, picture_features.kept([], [3, 4], extractor, manifest)) and extractor.seen == 4
    picture_features.kept([photo(3)], [3], extractor, manifest)
    assert extractor.seen == 6
    manifest.write_text("two")
    picture_features.kept([photo(3)], [3], extractor, manifest)
    assert extractor.seen == 8
