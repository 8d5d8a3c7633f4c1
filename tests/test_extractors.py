"""Feature extractors: Lite0 sees what it should, Inception is read only where weights reach, files run no code."""

import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io
import timm
import torch
from PIL import Image
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from textbloom.core.errors import UserError
from textbloom.features import extractors, inception_weights, lite0
from textbloom.features.kept_features import kept

SHARED = Path(__file__).parents[2] / "shared"
FLOWERS = SHARED / "flowers102"
REAL_INCEPTION = SHARED / "weights" / "inception-2015-12-05-upto-mixed6e.pth"
DAISY = 985  # of ImageNet-1k
OXEYE_DAISY = 49  # of Oxford-102


def smooth_pictures(count: int, side: int) -> Tensor:
    small = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(small, side, mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)


@pytest.fixture(scope="module")
def efficientnet() -> extractors.Extractor:
    return extractors.load("efficientnet-lite0", None, None)


def oxeye_daisies(count: int) -> Tensor:
    """Photos of one Oxford-102 class, cut square, uint8 [count, 3, 128, 128]."""
    labels = scipy.io.loadmat(FLOWERS / "imagelabels.mat")["labels"][0]
    wanted = {f"jpg/image_{number:05d}.jpg" for number in (np.flatnonzero(labels == OXEYE_DAISY) + 1)[:count]}
    pictures = []
    with tarfile.open(FLOWERS / "102flowers.tgz") as archive:
        for member in archive:
            if member.name in wanted:
                file = archive.extractfile(member)
                assert file is not None
                photo = Image.open(io.BytesIO(file.read())).convert("RGB")
                left, top = (photo.width - 128) // 2, (photo.height - 128) // 2
                square = np.asarray(photo.crop((left, top, left + 128, top + 128)))
                pictures.append(torch.from_numpy(square.transpose(2, 0, 1).copy()))
                if len(pictures) == count:
                    break
    return torch.stack(pictures)


@pytest.mark.skipif(not FLOWERS.exists(), reason="the real Oxford-102 photos are not at hand")
def test_lite0_recognises_real_daisies(efficientnet):
    logits = efficientnet(oxeye_daisies(10), "daisies").logits
    assert (logits.argmax(1) == DAISY).sum() >= 9
    assert logits.softmax(1)[:, DAISY].mean() > 0.8


def test_lite0_prepares_pictures_as_timm_says_for_this_network(efficientnet):
    # Within levels where bicubic overshoot clips nowhere: Pillow clips twice, after each direction, and rounds twice.
    pictures = torch.randint(64, 192, (3, 3, 64, 64), dtype=torch.uint8)
    network: Any = efficientnet.network
    settings = timm.data.resolve_data_config({"crop_pct": 1.0}, model=network.network)
    prepare = timm.data.create_transform(**settings)
    expected = torch.stack([prepare(Image.fromarray(picture.permute(1, 2, 0).numpy())) for picture in pictures])
    torch.testing.assert_close(lite0.prepare(pictures), expected, rtol=0, atol=1.5 / 127.5)


def test_a_picture_has_the_same_features_in_any_company(efficientnet):
    pictures = smooth_pictures(11, 32)
    together = efficientnet(pictures, "pictures").features
    assert together.shape == (11, 1280)
    torch.testing.assert_close(efficientnet(pictures[9:10], "one").features, together[9:10], rtol=1e-3, atol=1e-4)
    assert (together[9] - together[8]).abs().max() > 0.1


def test_lite0_without_its_batch_norms_sees_what_timms_network_with_them_sees(efficientnet, monkeypatch):
    own = efficientnet.network
    monkeypatch.setattr(lite0, "_fold_norms", lambda network: None)
    plain = lite0.EfficientNetLite0(lite0.NAME, ["1280", "logits"]).eval()
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) for network in (own, plain)]
    assert norms[0] == 0 < norms[1]
    pictures = smooth_pictures(4, 64)
    with torch.inference_mode():
        for folded, with_norms in zip(own(pictures.to(efficientnet.device)), plain(pictures), strict=True):
            torch.testing.assert_close(folded.cpu(), with_norms, rtol=1e-4, atol=1e-4)


def test_a_lite0_file_of_other_bytes_is_refused(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    torch.save({}, tmp_path / lite0._FILE)
    spec = ModuleSpec("stand_in", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(lite0.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match="sha256 differs"):
        extractors.load("efficientnet-lite0", None, None)


@pytest.mark.parametrize(
    ("name", "weights", "layer", "message"),
    [
        (
            "resnet",
            None,
            None,
            r"evaluate\.extractor: 'resnet' .*dinov2.*efficientnet-lite0.*inception-v3-compat.*vgg16",
        ),
        ("efficientnet-lite0", None, "768", r"evaluate\.layer: efficientnet-lite0 has no layer '768'.* 1280, logits"),
        ("efficientnet-lite0", "some.pth", None, r"evaluate\.weights: efficientnet-lite0 takes no local file"),
        ("clip-rn50", "some.pth", None, r"evaluate\.weights: clip-rn50 takes no local file"),
        ("inception-v3-compat", "absent.pth", "768", r"evaluate\.weights: absent\.pth cannot be read: No such file"),
    ],
)
def test_a_wrong_choice_names_the_key_and_the_mend(name, weights, layer, message):
    with pytest.raises(UserError, match=message):
        extractors.load(name, weights, layer)


def test_class_scores_come_from_classifiers_only(monkeypatch):
    created: dict[str, list[str]] = {}
    monkeypatch.setattr(extractors, "_create", lambda name, layers, weights, device: created.update({name: layers}))
    found = {name: extractors.load(name, None, None).logits_layer for name in extractors.known()}
    assert {name: layer for name, layer in found.items() if layer} == {
        "efficientnet-lite0": "logits",
        "inception-v3-compat": "logits_unbiased",
    }
    assert created["inception-v3-compat"] == ["2048", "logits_unbiased"]
    assert created["vgg16"] == ["fc2_relu"]


def test_features_that_are_not_finite_are_refused(efficientnet):
    broken = SimpleNamespace(
        get_requested_features_list=lambda: ["1280"],
        convert_features_tuple_to_dict=lambda outputs: {"1280": outputs},
        get_name=lambda: "broken",
    )

    class Network(SimpleNamespace):
        def __call__(self, images: Tensor) -> Tensor:
            return torch.full((len(images), 4), float("nan"))

    network: Any = Network(**vars(broken))
    with pytest.raises(UserError, match="layer 1280 of broken is not finite"):
        extractors.Extractor(network, "1280", None, torch.device("cpu"))(smooth_pictures(2, 8), "pictures")


PICTURE = smooth_pictures(1, 75)


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
def whole(inception: FeatureExtractorInceptionV3) -> tuple[Tensor, ...]:
    """Every layer of the complete network for PICTURE."""
    return inception(PICTURE)


def zero(network: FeatureExtractorInceptionV3, *blocks: str) -> dict[str, Tensor]:
    """Zero the convolutions of `blocks` in place; returns what they were."""
    table = network.state_dict()
    chosen = [name for name, tensor in table.items() if name.split(".")[0] in blocks and tensor.dim() > 1]
    before = {name: table[name].clone() for name in chosen}
    for name in chosen:
        table[name].zero_()
    return before


def test_the_blocks_are_those_of_torch_fidelitys_inception_in_their_order(inception):
    assert tuple(dict.fromkeys(name.split(".")[0] for name in inception.state_dict())) == inception_weights.BLOCKS


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
def test_the_usable_layers_are_those_that_zeros_leave_unchanged(inception, whole, block, usable):
    before = zero(inception, block)
    try:
        found = inception_weights.usable_layers(inception.state_dict())
        outputs = inception(PICTURE)
    finally:
        inception.load_state_dict(before, strict=False)
    layers = inception.get_requested_features_list()
    unchanged = [layer for layer, a, b in zip(layers, whole, outputs, strict=True) if torch.equal(a, b)]
    assert found == unchanged == usable


def test_a_layer_behind_zeros_is_refused_and_the_usable_ones_are_named(inception, tmp_path):
    path = tmp_path / "half.pth"
    before = zero(inception, "Mixed_7a", "Mixed_7b", "Mixed_7c", "fc")
    torch.save(inception.state_dict(), path)
    inception.load_state_dict(before, strict=False)
    for layer in (None, "2048", "logits"):
        with pytest.raises(UserError, match=r"half\.pth holds only zeros .*evaluate\.layer to '64' or '192' or '768'$"):
            extractors.load("inception-v3-compat", str(path), layer)
    found = extractors.load("inception-v3-compat", str(path), "768")
    assert found.logits_layer is None
    assert found(PICTURE, "pictures").logits is None


@pytest.mark.skipif(not REAL_INCEPTION.exists(), reason="the real weights up to Mixed_6e are not at hand")
def test_the_real_half_file_gives_layer_768_and_no_class_scores():
    found = extractors.load("inception-v3-compat", str(REAL_INCEPTION), "768")
    features = found(smooth_pictures(2, 75), "pictures")
    assert features.features.shape == (2, 768)
    assert features.logits is None
    with pytest.raises(UserError, match="layer 2048"):
        extractors.load("inception-v3-compat", str(REAL_INCEPTION), None)


class Payload:
    """Runs code when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", ["inception-v3-compat", "vgg16"])
def test_a_weights_file_that_would_run_code_is_refused_unrun(tmp_path, name):
    marker, path = tmp_path / "it ran", tmp_path / "hostile.pth"
    torch.save({"fc.weight": Payload(marker)}, path)
    with pytest.raises(UserError, match=r"hostile\.pth is damaged or not a plain table"):
        extractors.load(name, str(path), None)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # so the file was a danger


def garbage(path: Path) -> None:
    path.write_bytes(b"not weights at all")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    torch.save({"fc.weight": torch.ones(100, 100)}, path)
    path.write_bytes(path.read_bytes()[:9000])


def a_plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"fc.weight": 1}))


def a_list(path: Path) -> None:
    torch.save([torch.ones(3)], path)


def another_network(path: Path) -> None:
    torch.save({"fc.weight": torch.ones(3, 3)}, path)


@pytest.mark.parametrize("write", [garbage, nothing, cut_short, a_plain_pickle, a_list, another_network])
def test_a_file_that_is_no_weights_of_this_network_is_refused_by_name(tmp_path, write):
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(UserError, match=r"weights\.pth (is damaged or not a plain table|does not fit)"):
        extractors.load("inception-v3-compat", str(path), "768")


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
    monkeypatch.setattr(inception_weights, "PUBLISHED_URL", f"{server}/inception.pth")
    with pytest.raises(UserError, match=r"weights of inception-v3-compat cannot be fetched .*hash"):
        extractors.load("inception-v3-compat", None, None)
    assert list(hub.iterdir()) == []


def test_published_weights_are_fetched_once_and_checked_each_time(hub, server, tmp_path, monkeypatch):
    source = tmp_path / "served" / "inception.pth"
    source.write_bytes(b"the published bytes")
    monkeypatch.setattr(inception_weights, "PUBLISHED_URL", f"{server}/inception.pth")
    monkeypatch.setattr(inception_weights, "PUBLISHED_SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    assert inception_weights.published().read_bytes() == source.read_bytes()
    source.unlink()
    assert inception_weights.published() == hub / "inception.pth"
    (hub / "inception.pth").write_bytes(b"damaged since")
    with pytest.raises(UserError, match=r"inception\.pth: sha256 .* delete the file"):
        inception_weights.published()


def test_without_a_network_the_mend_is_named_in_one_line(hub, monkeypatch):
    monkeypatch.setattr(inception_weights, "PUBLISHED_URL", "http://127.0.0.1:9/inception.pth")
    with pytest.raises(UserError, match=r"cannot be fetched .*evaluate\.weights.*efficientnet-lite0") as caught:
        extractors.load("inception-v3-compat", None, None)
    assert "\n" not in str(caught.value)


def test_features_of_real_pictures_are_computed_once_a_set_and_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    extractor = extractors.load("efficientnet-lite0", None, None)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    plain, counted = extractor(images, "pictures"), []
    call = extractors.Extractor.__call__
    monkeypatch.setattr(extractors.Extractor, "__call__", lambda *given: counted.append(1) or call(*given))
    for again in (kept(extractor, images, "pictures") for _ in range(2)):
        assert torch.equal(again.features, plain.features) and torch.equal(again.logits, plain.logits)
    assert len(counted) == 1
    others = images.clone()
    others[0, 0, 0, 0] += 1
    kept(extractor, others, "pictures")
    kept(replace(extractor, logits_layer=None), images, "pictures")
    with torch.no_grad():
        next(extractor.network.parameters()).add_(1.0)
    kept(extractor, images, "pictures")
    assert len(counted) == 4
