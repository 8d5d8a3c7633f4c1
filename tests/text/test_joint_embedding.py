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


def groups(count: int, scale: float = 1.0) -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(1)
    return {name: scale * torch.randn(count, 6, generator=stream) + 3 for name in joint_embedding.WEIGHTS}


def test_the_picture_space_gives_unit_length_and_leaves_units_and_offsets_aside():
    ours = joint_embedding.fit_picture_space(groups(200), 5)(groups(200))
    assert ours.shape == (200, 5) and ours.dtype == torch.float32
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(200))
    theirs = joint_embedding.fit_picture_space(groups(200, scale=50.0), 5)(groups(200, scale=50.0))
    torch.testing.assert_close((ours @ ours.T), (theirs @ theirs.T), atol=1e-3, rtol=0)


def test_with_all_its_dimensions_the_space_only_rotates_the_weighted_groups():
    data = groups(200)
    space = joint_embedding.fit_picture_space(data, 18)
    parts = []
    for name, weight in joint_embedding.WEIGHTS.items():
        values = data[name].double()
        values = (values - values.mean(0)) / values.std(0, correction=0)
        parts.append(weight * values / values.norm(dim=1, keepdim=True))
    joined = torch.cat(parts, 1)
    joined = joined - joined.mean(0)
    joined = joined / joined.norm(dim=1, keepdim=True)
    torch.testing.assert_close((space(data) @ space(data).T).double(), joined @ joined.T, atol=1e-4, rtol=0)


def test_the_space_keeps_the_directions_of_largest_variance():
    data = groups(300)
    for name in ("stages", "colours"):
        data[name] = data["last"].clone()  # 18 features, 6 directions: 6 dimensions lose nothing
    ours, whole = joint_embedding.fit_picture_space(data, 6)(data), joint_embedding.fit_picture_space(data, 18)(data)
    torch.testing.assert_close(ours @ ours.T, whole @ whole.T, atol=1e-3, rtol=0)


def test_a_feature_that_never_varies_harms_nothing():
    data = groups(50)
    data["colours"][:, 2] = 0
    assert joint_embedding.fit_picture_space(data, 5)(data).isfinite().all()
