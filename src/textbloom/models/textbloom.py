"""The project's own system: every layer of its generator hears noise and caption, and frozen features judge.

The generator is residual, with conditional batch norm (Brock et al. 2019, arXiv 1809.11096) and StackGAN's
conditioning augmentation. Most of the discriminator is a pretrained network that never changes; small heads judge
random mixtures of its features (Sauer et al. 2021, arXiv 2111.01007), beside a small discriminator of the pixels, since
such features hardly know colours. Each gives a logit of the picture alone, which also sees how much the pictures of a
batch differ (Karras et al. 2018, arXiv 1710.10196, section 3), and the dot product with its text (Miyato and Koyama
2018, arXiv 1802.05637).
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from textbloom.models import base
from textbloom.models.base import Architecture
from textbloom.models.layers import DoublingConv2d, doubled
from textbloom.models.stackgan import Conditioning
from textbloom.models.text_directions import TextDirections

START = 4  # side in pixels of the generator's first map
WIDEST = 256  # channels of the widest map, unless `model.widths` says otherwise
GROUP = 8  # pictures among which the batch's deviation is taken
# Log variance at which conditioning augmentation starts: more noise would hide which part has which colour.
SPREAD = -4.0
MATCHED = 64  # length of the vectors whose dot product says how well picture and text match


def build(architecture: Architecture) -> tuple["TextbloomGenerator", "ProjectedDiscriminator"]:
    """Both networks; without a backbone the discriminator is the small one of the pixels alone."""
    return TextbloomGenerator(architecture), ProjectedDiscriminator(architecture)


class TextbloomGenerator(base.Generator):
    """Noise [B, Z] and text [B, D] to pictures [B, 3, S, S] in [-1, 1], S = 8, 16, 32, …

    The noise is z, then ε of the conditioning augmentation.
    """

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        ups = (a.size // START).bit_length() - 1
        assert a.size == START << ups > START, f"picture size {a.size}: a power of two from 8 on"
        widths = list(a.widths or (min(WIDEST, a.features << power) for power in range(ups, -1, -1)))
        assert len(widths) == ups + 1, f"{len(widths)} widths for the {ups + 1} map sizes from {START} to {a.size}"
        self._split = [a.noise_dim, a.text_projection]
        self.noise_dim = sum(self._split)
        self.text = TextDirections(a.embedding_dim, a.text_directions)
        self.conditioning = Conditioning(self.text.dim, a.text_projection)
        nn.init.constant_(self.conditioning.mean_and_log_variance.bias[a.text_projection :], SPREAD)
        condition = a.noise_dim + a.text_projection
        self.start = nn.Linear(condition, START * START * widths[0])
        self.blocks = nn.ModuleList(UpBlock(before, after, condition) for before, after in pairwise(widths))
        self.norm = ConditionalNorm(widths[-1], condition)
        self.colours = nn.Conv2d(widths[-1], 3, 3, 1, 1)

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        return torch.tanh(self.before_tanh(noise, text).float())  # bfloat16 has steps of 1/256 near 1

    def before_tanh(self, noise: Tensor, text: Tensor) -> Tensor:
        z, spread = noise.split(self._split, dim=1)
        condition = torch.cat([z, self.conditioning(self.text(text), spread)], dim=1)
        # Places come before channels, as they do in the memory of a channels-last map.
        x = self.start(condition).unflatten(1, (START, START, -1)).permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x, condition)
        return self.colours(F.leaky_relu(self.norm(x, condition), 0.2))

    def with_middle(self, text: Tensor, other: Tensor) -> Tensor:
        return self.text.with_middle(text, other)

    def divergence(self, text: Tensor) -> Tensor:
        return self.conditioning.divergence(self.text(text))


class ConditionalNorm(nn.Module):
    """Batch norm whose scale and shift are linear in the condition [B, C]."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale_and_shift = nn.Linear(condition, 2 * channels)
        nn.init.normal_(self.scale_and_shift.weight, std=0.5 / math.sqrt(condition))
        nn.init.zeros_(self.scale_and_shift.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(condition).to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class UpBlock(nn.Module):
    """Maps [B, C, h, w] to [B, F, 2h, 2w], with the condition before each convolution.

    One norm stands before the up-sampling: element-wise work on large maps costs more than the convolutions.
    """

    def __init__(self, before: int, after: int, condition: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([ConditionalNorm(before, condition), ConditionalNorm(after, condition)])
        self.convolutions = nn.ModuleList([DoublingConv2d(before, after), nn.Conv2d(after, after, 3, 1, 1)])
        self.shortcut = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.convolutions[0](F.leaky_relu(self.norms[0](x, condition), 0.2))
        y = self.convolutions[1](F.leaky_relu(self.norms[1](y, condition), 0.2))
        return y + doubled(self.shortcut(x))


class ProjectedDiscriminator(base.Discriminator):
    """Pictures [B, 3, S, S] to features [B, 1 + MATCHED, h, w] of every head, the one of the pixels last.

    The first channel is the head's logit of the picture alone, at each place; the others are matched with the text.
    """

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.backbone = a.backbone
        self._side = a.backbone_side
        scales: list[torch.Size] = []
        if self.backbone is not None:
            with torch.no_grad():
                scales = [scale.shape for scale in self.backbone(torch.zeros(1, 3, self._side, self._side))]
        narrow = a.discriminator_features
        self.mixture = RandomMixture([channels for _, channels, _, _ in scales], narrow)
        self.text = TextDirections(a.embedding_dim, a.text_directions) if a.discriminator_text else None
        text = self.text.dim if self.text else 0
        heads = [Head(narrow, side, [2 * narrow] * 2, text, grouped=True) for _, _, _, side in scales]
        heads.append(Head(3, a.size, [min(WIDEST, narrow << i) for i in range(4)], text, grouped=False))
        self.heads = nn.ModuleList(heads)
        places = [head.side**2 for head in heads]
        self._weights: Tensor
        self.register_buffer("_weights", torch.cat([torch.full((n,), 1 / n) for n in places]), persistent=False)

    @property
    def logit_weights(self) -> Tensor:
        """Each head counts as much as any other, however many places it has."""
        return self._weights

    def frozen_features(self, images: Tensor) -> list[Tensor]:
        if self.backbone is None:
            return [images]
        side = (self._side, self._side)
        enlarged = F.interpolate(images, side, mode="bilinear", align_corners=False)
        return [*self.mixture(self.backbone(enlarged)), images]

    def learned_features(self, frozen: list[Tensor]) -> list[Tensor]:
        return [head(scale) for head, scale in zip(self.heads, frozen, strict=True)]

    def features(self, images: Tensor) -> list[Tensor]:
        return self.learned_features(self.frozen_features(images))

    def project(self, text: Tensor) -> Tensor | None:
        """[B, D] to the vectors of all heads, [B, H · MATCHED]."""
        if self.text is None:
            return None
        directions = self.text(text)
        return torch.cat([head.get_submodule("text")(directions) for head in self.heads], dim=1)

    def score(self, features: list[Tensor], text: Tensor | None) -> Tensor:
        """[B, L]: one logit for each place of each head."""
        logits = [scale[:, 0].flatten(1).float() for scale in features]
        if text is not None:
            for index, (scale, vector) in enumerate(zip(features, text.float().split(MATCHED, dim=1), strict=True)):
                matches = (scale[:, 1:].float() * vector[:, :, None, None]).sum(1) / math.sqrt(MATCHED)
                logits[index] = logits[index] + matches.flatten(1)
        return torch.cat(logits, dim=1)


class RandomMixture(nn.Module):
    """Feature maps, finest first, to as many mixtures over their channels and with all coarser maps.

    The mixing convolutions are random and are not trained, so that no head can choose a few channels that give the
    generator away (Sauer et al. 2021, section 3.2).
    """

    def __init__(self, channels: list[int], mixed: int) -> None:
        super().__init__()
        self.channels = nn.ModuleList(nn.Conv2d(count, mixed, 1, bias=False) for count in channels)
        self.scales = nn.ModuleList(nn.Conv2d(mixed, mixed, 3, 1, 1, bias=False) for _ in channels[1:])
        for convolution in [*self.channels, *self.scales]:
            nn.init.kaiming_normal_(convolution.weight, a=1.0)
        self.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        over_channels = [mix(scale) for mix, scale in zip(self.channels, maps, strict=True)]
        mixed = [over_channels.pop()]
        for own, mix in zip(reversed(over_channels), reversed(self.scales), strict=True):
            coarser = F.interpolate(mixed[0], own.shape[2:], mode="bilinear", align_corners=False)
            mixed.insert(0, mix(own + coarser) * math.sqrt(0.5))  # the sum of two has twice the variance
        return mixed


class Head(nn.Module):
    """Maps [B, C, h, w] to features [B, 1 + MATCHED, side, side]: convolutions that halve what is larger than 4 × 4."""

    def __init__(self, channels: int, side: int, widths: list[int], text: int, grouped: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            halve = side > 4
            layers.append(spectral_norm(nn.Conv2d(channels, width, *((4, 2, 1) if halve else (3, 1, 1)))))
            layers += [nn.GroupNorm(width // 16, width)] if grouped else []
            layers.append(nn.LeakyReLU(0.2))
            channels, side = width, side // 2 if halve else side
        self.side = side
        self.body = nn.Sequential(*layers)
        self.realness = spectral_norm(nn.Conv2d(channels + 1, 1, 1))
        self.picture = spectral_norm(nn.Conv2d(channels, MATCHED, 1))
        self.text = spectral_norm(nn.Linear(text, MATCHED)) if text else None

    def forward(self, maps: Tensor) -> Tensor:
        body = self.body(maps)
        realness = self.realness(torch.cat([body, _deviation(body)], dim=1))
        return torch.cat([realness, self.picture(body)], dim=1)


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value, by power iteration (Miyato et al. 2018, arXiv 1802.05957).

    torch.nn.utils.parametrizations.spectral_norm computes in autocast's type, and goes on iterating in the generator's
    step, where the weight stands still.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.u: Tensor
        self.v: Tensor
        self.register_buffer("u", F.normalize(torch.randn(len(matrix)), dim=0))
        self.register_buffer("v", torch.zeros(matrix.shape[1]))
        for _ in range(15):
            self._iterate(matrix)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        # New tensors: autograd may still need the vectors of an earlier pass.
        self.v = F.normalize(matrix.t().mv(self.u), dim=0)
        self.u = F.normalize(matrix.mv(self.v), dim=0)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training and weight.requires_grad:
                self._iterate(matrix)
            return weight / self.u.dot(matrix.mv(self.v))


def spectral_norm(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer with its weight under a SpectralNorm."""
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return layer


def _deviation(maps: Tensor) -> Tensor:
    """How much the pictures of a group differ: one number for each of them, the same at all places, [B, 1, h, w].

    A group is every B / GROUP-th picture of [B, C, h, w]; all B where GROUP does not divide it.
    """
    count, _, height, width = maps.shape
    groups = count // GROUP if count % GROUP == 0 else 1
    variance = maps.float().unflatten(0, (-1, groups)).var(0, unbiased=False)
    deviations = (variance + 1e-6).sqrt().mean((1, 2, 3)).to(maps.dtype)
    return deviations.repeat(count // groups)[:, None, None, None].expand(-1, 1, height, width)
