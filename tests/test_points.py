"""Convolutions between a point and a map equal torch's own, in values and in gradients."""

import pytest
import torch
from torch import nn

from textbloom.models.points import FromPoint, ToPoint


def gradients(result: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of a sum with distinct weights."""
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return torch.autograd.grad((result * weights).sum(), inputs)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_map_grown_from_a_point_is_the_transposed_convolution_of_it(memory_format):
    layer = FromPoint(7, 5, 4).double().to(memory_format=memory_format)
    reference = nn.ConvTranspose2d(7, 5, 4, 1, 0, bias=False).double()
    reference.load_state_dict(layer.state_dict())
    vectors = torch.randn(3, 7, dtype=torch.double, requires_grad=True)
    grown, expected = layer(vectors), reference(vectors[:, :, None, None])
    torch.testing.assert_close(grown, expected)
    for own, other in zip(
        gradients(grown, vectors, layer.weight), gradients(expected, vectors, reference.weight), strict=True
    ):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("vector", "bias"), [(0, False), (0, True), (6, False), (6, True)])
def test_a_number_of_a_map_is_the_convolution_over_it_with_the_vector_at_every_place(vector, bias, memory_format):
    layer = ToPoint(5, vector, 4, bias=bias).double().to(memory_format=memory_format)
    reference = nn.Conv2d(5 + vector, 1, 4, 1, 0, bias=bias).double()
    reference.load_state_dict(layer.state_dict())
    maps = torch.randn(3, 5, 4, 4, dtype=torch.double, requires_grad=True)
    vectors = torch.randn(3, vector, dtype=torch.double, requires_grad=True) if vector else None
    inputs = [maps] if vectors is None else [maps, vectors]
    joined = maps if vectors is None else torch.cat([maps, vectors[:, :, None, None].expand(-1, -1, 4, 4)], 1)
    numbers, expected = layer(maps, vectors), reference(joined).flatten()
    torch.testing.assert_close(numbers, expected)
    for own, other in zip(
        gradients(numbers, *inputs, *layer.parameters()),
        gradients(expected, *inputs, *reference.parameters()),
        strict=True,
    ):
        torch.testing.assert_close(own, other)
