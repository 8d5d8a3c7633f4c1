"""EfficientNet-Lite: it recognises what it should, and gives what timm's network with the same weights gives."""

import importlib
import io
import tarfile
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import timm
import torch
from PIL import Image
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.features import efficientnet
from textbloom.features.efficientnet import VARIANTS, EfficientNet

FLOWERS = Path(__file__).parents[3] / "shared" / "flowers102"
DAISY = 985  # of ImageNet-1k
OXEYE_DAISY = 49  # of Oxford-102


@pytest.fixture(scope="module", params=VARIANTS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def extractor(name) -> EfficientNet:
    return EfficientNet(name, ["1280", "logits"]).eval()


def published(name: str) -> list[Tensor]:
    """The tensors of the weights file, read without any of our code."""
    variant = VARIANTS[name]
    spec = find_spec(variant.package)
    assert spec is not None and spec.origin is not None
    return list(torch.load(Path(spec.origin).parent / variant.file, weights_only=True).values())


@pytest.fixture(scope="module")
def reference(name) -> Any:
    """timm's own network with its batch norms."""
    network: Any = timm.create_model(VARIANTS[name].timm_name)
    network.load_state_dict(dict(zip(network.state_dict(), published(name), strict=True)))
    return network.eval()


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
def test_real_daisies_are_recognised(extractor):
    with torch.inference_mode():
        _, logits = extractor(oxeye_daisies(10))
    assert (logits.argmax(1) == DAISY).sum() >= 9
    assert logits.softmax(1)[:, DAISY].mean() > 0.6


def test_pictures_are_prepared_as_timm_says_for_the_network(name, reference):
    # Within levels where bicubic overshoot clips nowhere: Pillow clips twice, after each direction, and rounds twice.
    pictures = torch.randint(64, 192, (3, 3, 64, 64), dtype=torch.uint8)
    prepare = timm.data.create_transform(**timm.data.resolve_data_config({"crop_pct": 1.0}, model=reference))
    expected = torch.stack([prepare(Image.fromarray(picture.permute(1, 2, 0).numpy())) for picture in pictures])
    prepared = efficientnet.prepare(pictures, VARIANTS[name].side)
    torch.testing.assert_close(prepared, expected, rtol=0, atol=1.5 / 127.5)


@torch.inference_mode()
def test_without_its_batch_norms_it_gives_what_timms_network_gives(name, extractor, reference, smooth_pictures):
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in extractor.modules())
    pictures = smooth_pictures(3, 64)
    pooled, logits = extractor(pictures)
    prepared = efficientnet.prepare(pictures, VARIANTS[name].side)
    expected = reference.forward_head(reference.forward_features(prepared), pre_logits=True)
    assert pooled.shape == (3, 1280) and logits.shape == (3, 1000)
    torch.testing.assert_close(pooled, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(logits, reference(prepared), rtol=1e-3, atol=1e-3)


def test_the_scales_are_the_four_feature_maps_of_timms_backbone(name, reference):
    network, digest = efficientnet.scales(name)
    assert digest == VARIANTS[name].sha256
    images = (torch.rand(2, 3, 96, 64) * 2 - 1).requires_grad_()
    maps = network(images)
    assert [tuple(m.shape[2:]) for m in maps] == [(24, 16), (12, 8), (6, 4), (3, 2)]

    backbone = timm.create_model(VARIANTS[name].timm_name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    backbone.load_state_dict({key: reference.state_dict()[key] for key in backbone.state_dict()})
    for ours, theirs in zip(maps, backbone(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)

    sum(m.mean() for m in maps).backward()
    assert images.grad is not None and images.grad.any()
    assert not network.training and not any(weights.requires_grad for weights in network.parameters())


def test_a_weights_file_of_other_bytes_is_refused(monkeypatch, tmp_path):
    variant = VARIANTS["efficientnet-lite0"]
    (tmp_path / variant.file).parent.mkdir()
    torch.save({}, tmp_path / variant.file)
    spec = ModuleSpec("stand_in", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match="sha256 differs"):
        efficientnet.network("efficientnet-lite0")
