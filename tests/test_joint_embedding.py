"""The symmetric structured joint embedding against its formula and its identities."""

import pytest
import torch

from textbloom.text import joint_embedding


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(2)
    return torch.randn(5, 7, generator=stream), torch.randn(5, 7, generator=stream)


def test_the_loss_is_the_formula_summed_pair_by_pair(pair):
    v, t = pair
    total, count = 0.0, len(v)
    for i in range(count):
        right = float(v[i] @ t[i])
        for j in range(count):
            if j != i:
                total += max(0.0, 1 + float(v[i] @ t[j]) - right) + max(0.0, 1 + float(v[j] @ t[i]) - right)
    assert float(joint_embedding.loss(v, t)) == pytest.approx(total / (count * (count - 1)), rel=1e-5)


def test_pictures_and_texts_may_change_places(pair):
    v, t = pair
    torch.testing.assert_close(joint_embedding.loss(v, t), joint_embedding.loss(t, v))


def test_pairs_apart_by_the_margin_cost_nothing_and_push_nothing():
    texts = torch.eye(4, requires_grad=True)
    loss = joint_embedding.loss(torch.eye(4), texts)
    loss.backward()
    assert loss.item() == 0 and texts.grad is not None and not texts.grad.any()


def test_texts_that_say_nothing_cost_twice_the_margin():
    assert float(joint_embedding.loss(torch.randn(6, 3), torch.zeros(6, 3), margin=1.5)) == pytest.approx(3.0)


def test_only_the_texts_at_fault_are_moved():
    pictures = torch.eye(3) * 4
    texts = torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [4.0, 0, 4.0]], requires_grad=True)
    # text 2 scores as high for picture 0 as for its own: a wrong text of picture 0, a wrong picture of text 2
    joint_embedding.loss(pictures, texts).backward()
    assert texts.grad is not None
    assert texts.grad[1].abs().sum() == 0 and texts.grad[0].abs().sum() > 0 and texts.grad[2].abs().sum() > 0


def test_a_step_against_the_gradient_lowers_the_loss(pair):
    v, t = pair
    t = t.clone().requires_grad_(True)
    before = joint_embedding.loss(v, t)
    (slope,) = torch.autograd.grad(before, t)
    assert joint_embedding.loss(v, t - 0.01 * slope) < before


def test_compatibility_is_pictures_by_texts():
    assert joint_embedding.compatibility(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])
    ).tolist() == [[11.0, 17.0]]
