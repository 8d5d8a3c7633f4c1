"""A frozen network inside a trained one moves with it, and is otherwise left alone and unseen."""

import copy

import torch
from torch import nn

from textbloom.models.base import Frozen, pretrained


class Judge(nn.Module):
    """A trained layer on what a frozen network with batch norm sees."""

    def __init__(self):
        super().__init__()
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.seen = Frozen(network, "eye", "ab" * 32)
        self.head = nn.Linear(4, 1)

    def forward(self, images):
        return self.head(self.seen(images).mean((2, 3)))


def test_a_frozen_network_shows_in_no_list_of_weights_and_no_state():
    judge = Judge()
    assert [name for name, _ in judge.named_parameters()] == ["head.weight", "head.bias"]
    assert list(judge.state_dict()) == ["head.weight", "head.bias"]
    assert pretrained(judge, judge) == [{"name": "eye", "sha256": "ab" * 32}]


def test_a_frozen_network_stays_in_evaluation_mode_and_frozen_whatever_the_one_around_it_is_told():
    judge = Judge().train().requires_grad_(True)
    network = judge.seen.network
    before = copy.deepcopy(network.state_dict())
    judge(torch.randn(2, 3, 8, 8)).sum().backward()
    assert not any(part.training for part in network.modules())
    assert all(weight.grad is None and not weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_gradients_pass_through_a_frozen_network():
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    Judge()(images).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_a_frozen_network_moves_with_the_one_around_it():
    judge = Judge().double().to(memory_format=torch.channels_last)
    weight = next(judge.seen.network.parameters())
    assert weight.dtype == torch.double
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert judge(torch.randn(2, 3, 8, 8, dtype=torch.double)).dtype == torch.double


def test_a_copy_of_the_network_around_it_computes_the_same():
    judge, images = Judge(), torch.randn(2, 3, 8, 8)
    assert torch.equal(copy.deepcopy(judge)(images), judge(images))
