"""Features of photos: what each group holds, in the order of the ids, computed once."""

import io

import pytest
import torch
from PIL import Image

from textbloom.core.errors import UserError
from textbloom.data.base import Photo
from textbloom.text import picture_features


class Brightness:
    """Stands in for the networks: the mean brightness of each picture, thrice."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, pictures):
        self.seen += len(pictures)
        assert pictures.shape[1:] == (3, 224, 224) and pictures.dtype == torch.uint8
        return {group: pictures.float().mean((1, 2, 3))[:, None] for group in picture_features.GROUPS}


def photo(image_id: int) -> Photo:
    """A grey picture of brightness 10 × id."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (10 * image_id,) * 3).save(buffer, "PNG")
    return Photo(image_id, f"{image_id}.png", buffer.getvalue())


def test_features_come_in_the_order_of_the_ids():
    photos = [photo(image_id) for image_id in range(20, 0, -1)]  # more than a chunk, in another order
    ids = [2, 3, 5, 8, 9, 10, 11, 12, 13, 20]
    features = picture_features.extract(photos, ids, Brightness())
    for group in picture_features.GROUPS:
        assert features[group].flatten().tolist() == [10.0 * image_id for image_id in ids]


def test_an_id_without_a_photo_is_named():
    with pytest.raises(UserError, match="names image 7, but the archive has no photo of it"):
        picture_features.extract([photo(3)], [3, 7, 9], Brightness())


def test_features_are_computed_once_for_the_same_archives_and_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    reader = Brightness()
    monkeypatch.setattr(picture_features, "Reader", lambda: reader)
    manifest = tmp_path / "manifest.json"
    manifest.write_text("one")
    first = picture_features.kept([photo(3), photo(4)], [3, 4], manifest)
    again = picture_features.kept([], [3, 4], manifest)
    assert torch.equal(first["last"], again["last"]) and reader.seen == 2
    picture_features.kept([photo(3)], [3], manifest)
    assert reader.seen == 3
    manifest.write_text("two")
    picture_features.kept([photo(3)], [3], manifest)
    assert reader.seen == 4


def test_colours_are_the_roots_of_their_shares_in_the_middle():
    pictures = torch.zeros(2, 3, 224, 224, dtype=torch.uint8)
    pictures[0, 0, :, :112] = 255  # left half red, right half black
    pictures[1, :, :40] = 200  # only outside the middle
    shares = picture_features.colours(pictures)
    assert shares.shape == (2, 64)
    assert shares[0, 48].item() == pytest.approx(0.5**0.5) and shares[0, 0].item() == pytest.approx(0.5**0.5)
    assert shares[1, 0].item() == 1.0
    torch.testing.assert_close(shares.norm(dim=1), torch.ones(2))


def test_the_reader_gives_the_extractors_own_last_layer_and_every_stages_mean_and_deviation():
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    reader = picture_features.Reader()
    groups = reader(pictures)
    assert {name: tuple(values.shape) for name, values in groups.items()} == {
        "last": (2, 1280),
        "stages": (2, 1568),
        "colours": (2, 64),
    }
    from textbloom.features import lite0

    extractor = lite0.EfficientNetLite0(lite0.NAME, ["1280"]).eval().to(reader.device)
    with torch.inference_mode():
        (pooled,) = extractor(pictures.to(reader.device))
        first = extractor.network.blocks[0](
            extractor.network.bn1(extractor.network.conv_stem(lite0.prepare(pictures.to(reader.device))))
        )
    torch.testing.assert_close(groups["last"], pooled.cpu(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(groups["stages"][:, :16], first.mean((2, 3)).cpu(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(groups["stages"][:, 16:32], first.std((2, 3)).cpu(), atol=1e-4, rtol=1e-4)
