"""The judge of pictures: what is chosen, what is refused unread, and the features of real pictures in their file."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.prepared_project import Classifier, Coarse
from torch import Tensor, nn
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from textbloom.core.errors import UserError
from textbloom.core.tensors import load_metadata
from textbloom.features import efficientnet, extractor
from textbloom.features.extractor import Extractor, read_real_features, write_real_features

LITE0 = "efficientnet-lite0"


@pytest.fixture(scope="module")
def lite0() -> Extractor:
    return extractor.load(LITE0, None, None)


def test_a_picture_has_the_same_features_in_any_company(lite0, smooth_pictures):
    pictures = smooth_pictures(11, 32)
    together = lite0(pictures, "pictures").features
    assert together.shape == (11, 1280)
    torch.testing.assert_close(lite0(pictures[9:10], "one").features, together[9:10], rtol=1e-3, atol=1e-4)
    assert (together[9] - together[8]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "weights", "layer", "message"),
    [
        ("resnet", None, None, r"evaluate\.extractor: 'resnet' .*dinov2.*efficientnet-lite0.*-lite2.*inception-v3"),
        (LITE0, None, "768", r"evaluate\.layer: efficientnet-lite0 has no layer '768'.* 1280, logits"),
        (LITE0, "some.pth", None, r"evaluate\.weights: efficientnet-lite0 takes no local file"),
        ("clip-rn50", "some.pth", None, r"evaluate\.weights: clip-rn50 takes no local file"),
        ("inception-v3-compat", "absent.pth", "768", r"evaluate\.weights: absent\.pth cannot be read: No such file"),
    ],
)
def test_a_wrong_choice_names_the_key_and_the_mend(name, weights, layer, message):
    with pytest.raises(UserError, match=message):
        extractor.load(name, weights, layer)


def test_class_scores_come_from_classifiers_only(monkeypatch, lite0):
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "classifier", Classifier)
    found = {name: extractor.load(name, None, None).logits_layer for name in ("coarse", "classifier")}
    assert found == {"coarse": None, "classifier": "logits"}
    assert lite0.logits_layer == "logits"


class Stand(nn.Module):
    """Stands in for torch-fidelity's network: calls `forward` of the test."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: Tensor) -> Tensor:
        return self.make(images)

    def get_requested_features_list(self) -> list[str]:
        return ["1280"]

    def convert_features_tuple_to_dict(self, output: Tensor) -> dict[str, Tensor]:
        return {"1280": output}

    def get_name(self) -> str:
        return "stand"


def stand(make: Any) -> Extractor:
    network: Any = Stand(make)
    return Extractor(network, "1280", None, "0" * 64, torch.device("cpu"))


def test_features_that_are_not_finite_are_refused(smooth_pictures):
    broken = stand(lambda images: torch.full((len(images), 4), float("nan")))
    with pytest.raises(UserError, match="layer 1280 of stand is not finite"):
        broken(smooth_pictures(2, 8), "pictures")


def test_a_judge_computes_in_full_float32_and_leaves_the_settings_as_they_were(smooth_pictures):
    def allowed() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    seen: list[tuple[bool, bool]] = []
    before = allowed()
    stand(lambda images: seen.append(allowed()) or images.float().mean((2, 3)))(smooth_pictures(2, 8), "pictures")
    assert seen == [(False, False)] != [before] and allowed() == before


# Weights files given by hand


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
        extractor.load(name, str(path), None)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # so the file was a danger


def write_damaged(kind: str, path: Path) -> None:
    if kind == "another network":
        torch.save({"fc.weight": torch.ones(3, 3)}, path)
    elif kind == "a list":
        torch.save([torch.ones(3)], path)
    elif kind == "cut short":
        torch.save({"fc.weight": torch.ones(100, 100)}, path)
        path.write_bytes(path.read_bytes()[:9000])
    else:
        path.write_bytes({"garbage": b"no weights", "nothing": b"", "a pickle": pickle.dumps({"fc.weight": 1})}[kind])


@pytest.mark.parametrize("kind", ["another network", "a list", "cut short", "garbage", "nothing", "a pickle"])
def test_a_file_that_is_no_weights_of_this_network_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "weights.pth"
    write_damaged(kind, path)
    with pytest.raises(UserError, match=r"weights\.pth (is damaged or not a plain table|does not fit)"):
        extractor.load("inception-v3-compat", str(path), "768")


# The features of real pictures


def test_the_features_of_real_pictures_come_back_to_the_bit_with_what_gave_them(tmp_path, lite0, smooth_pictures):
    path, pictures = tmp_path / "real_features.safetensors", smooth_pictures(3, 64)
    write_real_features(path, lite0, pictures)
    assert load_metadata(path)["sha256"] == efficientnet.VARIANTS[LITE0].sha256
    expected, found = lite0(pictures, "pictures"), read_real_features(path, lite0, 64)
    assert torch.equal(found.features, expected.features)
    assert found.logits is not None and expected.logits is not None and torch.equal(found.logits, expected.logits)
    rows = torch.tensor([2, 0])
    assert torch.equal(found[rows].features, expected.features[rows])


def test_features_of_another_file_layer_or_size_are_refused_with_the_mend(tmp_path, smooth_pictures):
    judge = stand(lambda images: images.float().mean((2, 3)))
    path = tmp_path / "real_features.safetensors"
    write_real_features(path, judge, smooth_pictures(3, 64))
    assert read_real_features(path, judge, 64).logits is None
    with pytest.raises(UserError, match=r"evaluate\.weights: the file has changed .*--single-item features"):
        read_real_features(path, replace(judge, sha256="1" * 64), 64)
    for changed, size in ((replace(judge, layer="768"), 64), (judge, 128)):
        with pytest.raises(UserError, match="another extractor, layer or picture size: run `make repro`"):
            read_real_features(path, changed, size)
