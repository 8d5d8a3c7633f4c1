"""Inception: a layer is read only where weights reach it, and the published file is fetched once and checked."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from textbloom.core.errors import UserError
from textbloom.features import extractor
from textbloom.features import inception as inceptions

REAL_INCEPTION = Path(__file__).parents[3] / "shared" / "weights" / "inception-2015-12-05-upto-mixed6e.pth"


@pytest.fixture(scope="module")
def picture(smooth_pictures) -> Tensor:
    return smooth_pictures(1, 75)


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractorInceptionV3:
    """torch-fidelity's Inception with random weights, giving every layer."""
    empty = tmp_path_factory.mktemp("weights") / "empty.pth"
    torch.save({}, empty)
    layers = list(FeatureExtractorInceptionV3.get_provided_features_list())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, table: None)
        return FeatureExtractorInceptionV3("inception", layers, feature_extractor_weights_path=empty)


@pytest.fixture(scope="module")
def whole(inception: FeatureExtractorInceptionV3, picture: Tensor) -> tuple[Tensor, ...]:
    """Every layer of the complete network for the picture."""
    return inception(picture)


def zero(network: FeatureExtractorInceptionV3, *blocks: str) -> dict[str, Tensor]:
    """Zero the convolutions of `blocks` in place; returns what they were."""
    table = network.state_dict()
    chosen = [name for name, tensor in table.items() if name.split(".")[0] in blocks and tensor.dim() > 1]
    before = {name: table[name].clone() for name in chosen}
    for name in chosen:
        table[name].zero_()
    return before


def test_the_blocks_are_those_of_torch_fidelitys_inception_in_their_order(inception):
    assert tuple(dict.fromkeys(name.split(".")[0] for name in inception.state_dict())) == inceptions.BLOCKS


@pytest.mark.parametrize(
    ("block", "usable"),
    [
        ("Conv2d_2b_3x3", []),
        ("Conv2d_3b_1x1", ["64"]),
        ("Mixed_5b", ["64", "192"]),
        ("Mixed_6e", ["64", "192"]),
        ("Mixed_7a", ["64", "192", "768"]),
        ("fc", ["64", "192", "768", "2048"]),
        ("none", ["64", "192", "768", "2048", "logits_unbiased", "logits"]),
    ],
)
def test_the_usable_layers_are_those_that_zeros_leave_unchanged(inception, picture, whole, block, usable):
    before = zero(inception, block)
    try:
        found = inceptions.usable_layers(inception.state_dict())
        outputs = inception(picture)
    finally:
        inception.load_state_dict(before, strict=False)
    layers = inception.get_requested_features_list()
    unchanged = [layer for layer, a, b in zip(layers, whole, outputs, strict=True) if torch.equal(a, b)]
    assert found == unchanged == usable


def test_a_layer_behind_zeros_is_refused_and_the_usable_ones_are_named(inception, picture, tmp_path):
    path = tmp_path / "half.pth"
    before = zero(inception, "Mixed_7a", "Mixed_7b", "Mixed_7c", "fc")
    torch.save(inception.state_dict(), path)
    inception.load_state_dict(before, strict=False)
    for layer in (None, "2048", "logits"):
        with pytest.raises(UserError, match=r"half\.pth holds only zeros .*evaluate\.layer to '64' or '192' or '768'$"):
            extractor.load("inception-v3-compat", str(path), layer)
    found = extractor.load("inception-v3-compat", str(path), "768")
    assert found.logits_layer is None and found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found(picture, "pictures").logits is None


@pytest.mark.skipif(not REAL_INCEPTION.exists(), reason="the real weights up to Mixed_6e are not at hand")
def test_the_real_half_file_gives_layer_768_and_no_class_scores(smooth_pictures):
    found = extractor.load("inception-v3-compat", str(REAL_INCEPTION), "768")
    features = found(smooth_pictures(2, 75), "pictures")
    assert features.features.shape == (2, 768)
    assert features.logits is None
    with pytest.raises(UserError, match="layer 2048"):
        extractor.load("inception-v3-compat", str(REAL_INCEPTION), None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server on this machine, of the folder tmp_path/served."""
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "hub" / "hub" / "checkpoints"


def test_published_weights_of_other_bytes_are_refused_and_not_kept(hub, server, tmp_path, monkeypatch):
    (tmp_path / "served" / "inception.pth").write_bytes(b"something else")
    monkeypatch.setattr(inceptions, "PUBLISHED_URL", f"{server}/inception.pth")
    with pytest.raises(UserError, match=r"weights of inception-v3-compat cannot be fetched .*hash"):
        extractor.load("inception-v3-compat", None, None)
    assert list(hub.iterdir()) == []


def test_published_weights_are_fetched_once_and_checked_each_time(hub, server, tmp_path, monkeypatch):
    source = tmp_path / "served" / "inception.pth"
    source.write_bytes(b"the published bytes")
    monkeypatch.setattr(inceptions, "PUBLISHED_URL", f"{server}/inception.pth")
    monkeypatch.setattr(inceptions, "PUBLISHED_SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    assert inceptions.published().read_bytes() == source.read_bytes()
    source.unlink()
    assert inceptions.published() == hub / "inception.pth"
    (hub / "inception.pth").write_bytes(b"damaged since")
    with pytest.raises(UserError, match=r"inception\.pth is not the published file .* delete it"):
        inceptions.published()


def test_without_a_network_the_mend_is_named_in_one_line(hub, monkeypatch):
    monkeypatch.setattr(inceptions, "PUBLISHED_URL", "http://127.0.0.1:9/inception.pth")
    with pytest.raises(UserError, match=r"cannot be fetched .*evaluate\.weights.*efficientnet-lite0") as caught:
        extractor.load("inception-v3-compat", None, None)
    assert "\n" not in str(caught.value)
