"""Depthwise convolutions equal torch's own in values and in gradients, first and second."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from textbloom.core.convolutions import depthwise_conv2d
from textbloom.features.efficientnet import FrozenDepthwiseConv2d

GEOMETRIES = [(3, 1, 1), (5, 1, 2), (4, 2, 1), (6, 2, 2), (3, 2, 1)]  # of kernel, stride, padding


@pytest.mark.parametrize("sides", [(8, 6), (7, 9)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
def test_values_and_gradients_are_those_of_torch(kernel, stride, padding, sides):
    maps = torch.randn(2, 5, *sides, dtype=torch.double, requires_grad=True)
    weight, bias = torch.randn(5, 1, kernel, kernel, dtype=torch.double), torch.randn(5, dtype=torch.double)
    own = depthwise_conv2d(maps, weight, bias, stride, padding)
    reference = F.conv2d(maps, weight, bias, stride, padding, groups=5)
    torch.testing.assert_close(own, reference)
    weights = torch.linspace(-1, 1, own.numel(), dtype=own.dtype).view_as(own)
    gradient = torch.autograd.grad((own * weights).sum(), maps)
    torch.testing.assert_close(gradient, torch.autograd.grad((reference * weights).sum(), maps))


@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
def test_gradients_can_be_differentiated_again(kernel, stride, padding):
    maps = torch.randn(1, 2, 6, 6, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 1, kernel, kernel, dtype=torch.double)
    assert torch.autograd.gradgradcheck(lambda x: depthwise_conv2d(x, weight, None, stride, padding).square(), maps)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_what_the_one_that_it_was_made_of_gives(bias):
    layer = nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=bias)
    frozen = FrozenDepthwiseConv2d(layer)
    assert not any(weights.requires_grad for weights in frozen.parameters())
    maps = torch.randn(2, 16, 8, 8, requires_grad=True)
    torch.testing.assert_close(frozen(maps), layer(maps))
    with torch.autocast("cpu", torch.bfloat16):
        own, other = frozen(maps), layer(maps)
    torch.testing.assert_close(own, other)
    assert own.dtype is torch.bfloat16
    (gradient,), (expected,) = (torch.autograd.grad(each.float().square().sum(), maps) for each in (own, other))
    torch.testing.assert_close(gradient, expected, rtol=0.05, atol=0.05)  # bfloat16 has three digits
