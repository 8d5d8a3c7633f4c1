"""The hinge objective: its closed form, the captions between two, and one pass of the generator for both steps."""

import pytest
import torch
from support.tiny_training import CPU, SEED, Toy, batch, networks, train, trainer
from torch import nn

from textbloom.core.seeding import generator_for
from textbloom.models.base import Discriminator, Frozen, Generator
from textbloom.training import augmentation
from textbloom.training.objectives.base import Batch, Networks
from textbloom.training.objectives.hinge import APART, Hinge, coarse, with_middle


class Painter(Generator):
    """Pictures of one colour, the noise; its conditioning is as far from a normal as the text is long."""

    noise_dim = 1

    def __init__(self):
        super().__init__()
        self.made = 0

    def forward(self, noise, text):
        self.made += 1
        return noise[:, :, None, None].expand(-1, 3, 4, 4).clone().requires_grad_()

    def divergence(self, text):
        return text.sum(1).mean()


class Two(Discriminator):
    """Two logits a picture: its colour plus its text, and its colour alone, which counts a half."""

    logit_weights = torch.tensor([1.0, 0.5])

    def features(self, images):
        return [images.mean((1, 2, 3))[:, None]]

    def project(self, text):
        return text

    def score(self, features, text):
        return torch.cat([features[0] + text, features[0]], dim=1)


REAL, TEXT, NOISE = ([0.3, -0.4, 2.0, 0.1], [0.5, -0.5, 1.5, -2.0], [0.25, 0.75, -0.5, -3.0])


def scene(**changes):
    pictures = torch.tensor(REAL)[:, None, None, None].expand(-1, 3, 4, 4)
    text, noise = torch.tensor(TEXT)[:, None], torch.tensor([NOISE, NOISE])[..., None]
    return Networks(Painter(), Two()), Batch(pictures, text, noise, **changes)


def relu(value):
    return max(0.0, value)


@pytest.mark.parametrize("matching_aware", [True, False])
def test_the_losses_are_their_closed_form(matching_aware):
    """With a the logit of colour and text and b that of the colour, a margin m counts m(a) + m(b) / 2."""
    pair, data = scene()
    objective = Hinge(matching_aware, negatives_weight=0.25, conditioning_kl=0.1, mixed_captions=0.5)
    captions = [0.5, -0.5, (1.5 - 0.5) / 2, (-2.0 + 1.5) / 2]  # the last two halfway to the caption before
    real = sum(relu(1 - x - t) + relu(1 - x) / 2 for x, t in zip(REAL, TEXT, strict=True)) / 4
    wrong = sum(relu(1 + x + t) + relu(1 + x) / 2 for x, t in zip(REAL, TEXT[-1:] + TEXT[:-1], strict=True)) / 4
    fake = sum(relu(1 + x + t) + relu(1 + x) / 2 for x, t in zip(NOISE, captions, strict=True)) / 4
    adversarial = -sum(1.5 * x + t for x, t in zip(NOISE, captions, strict=True)) / 4

    loss, terms = objective.discriminator(pair, data)
    expected = {"real": real, "fake": fake} | ({"wrong": wrong} if matching_aware else {})
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)
    assert loss.item() == pytest.approx(real + 0.25 * (fake + (wrong if matching_aware else 0)))

    loss, terms = objective.generator(pair, data)
    assert terms["adversarial"].item() == pytest.approx(adversarial)
    assert loss.item() == pytest.approx(adversarial + 0.1 * sum(captions) / 4)


def test_shares_of_the_captions_and_colours_are_composed_of_two_pictures():
    class Composer(Painter):
        def with_middle(self, text, of):
            return 10 * text + of

        def forward(self, noise, text):
            self.text = text
            return super().forward(noise, text)[:, :, :1, :1].expand(-1, -1, 32, 32)

    painter = Composer()
    _, data = scene()
    data.images = torch.rand(4, 3, 32, 32)
    _, terms = Hinge(pixel_l1=1.0, cutmix=0.25, mixed_captions=0.5).generator(Networks(painter, Two()), data)
    (a, b, c, d), images = TEXT, data.images
    assert painter.text[:, 0].tolist() == pytest.approx([10 * a + d, b, (c + b) / 2, (d + c) / 2])
    wanted = coarse(torch.stack([images[0], images[1], (images[2] + images[1]) / 2, (images[3] + images[2]) / 2]))
    wanted[:1] = with_middle(wanted[:1], coarse(images[3:]))
    expected = (coarse(painter(data.noise[1], data.text)) - wanted).abs().mean()
    torch.testing.assert_close(terms["pixels"], expected)


def test_a_picture_gets_the_middle_of_another():
    whole, other = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    composed = with_middle(whole, other)
    assert composed[:, :, 6:10, 6:10].all() and composed.sum() == 3 * 4 * 4 and not whole.any()


def test_a_mixed_captions_colours_lie_halfway_too():
    networks, data = scene()
    for share, wanted in ((0.0, REAL), (0.5, [0.3, -0.4, (2.0 - 0.4) / 2, (0.1 + 2.0) / 2])):
        loss, terms = Hinge(pixel_l1=7.0, conditioning_kl=0.0, mixed_captions=share).generator(networks, data)
        expected = sum(abs(made - own) for made, own in zip(NOISE, wanted, strict=True)) / 4
        assert terms["pixels"].item() == pytest.approx(expected)
        assert loss.item() == pytest.approx(terms["adversarial"].item() + 7.0 * expected)


def test_colours_are_compared_in_squares_whose_inside_does_not_count():
    pictures = torch.rand(2, 3, 8, 8)
    shuffled = pictures.unflatten(2, (2, 4)).unflatten(4, (2, 4)).flip(3, 5).flatten(4, 5).flatten(2, 3)
    assert not torch.equal(pictures, shuffled)
    torch.testing.assert_close(coarse(pictures), coarse(shuffled))
    torch.testing.assert_close(coarse(pictures)[0, 1, 1, 0], pictures[0, 1, 4:, :4].mean())


def test_of_several_noises_the_one_nearest_to_the_captions_own_picture_is_trained():
    class Mixed(Painter):
        noise_dim = 3

        def forward(self, noise, text):
            return super().forward(noise[:, :1], text)  # the colour is the first number of three

    networks, data = scene()
    data.noise = torch.tensor([[0.9, 0.4, -3.0], [0.0, -0.5, 5.0], [1.0, 1.1, 1.2], [3.0, -3.0, 0.2]]).expand(2, -1, -1)
    chosen = {1: [0.9, 0.0, 1.0, 3.0], 2: [0.9, 0.0, 1.2, 0.2], 3: [0.4, -0.5, 1.2, 0.2]}
    for variety, colours in chosen.items():
        painter = Mixed()
        objective = Hinge(pixel_l1=1.0, variety=variety, mixed_captions=0.0)
        _, terms = objective.generator(Networks(painter, networks.discriminator), data)
        expected = sum(abs(colour - own) for colour, own in zip(colours, REAL, strict=True)) / 4
        assert terms["pixels"].item() == pytest.approx(expected)
        assert painter.made == (1 if variety == 1 else variety + 1)


def test_two_noises_of_a_caption_are_kept_apart_by_a_share_of_what_real_pictures_differ_by():
    class Frozen2(Two):
        """One frozen scale, twice the picture, before the picture itself."""

        def frozen_features(self, images):
            return [2 * images, images]

        def learned_features(self, frozen):
            return self.features(frozen[-1])

    class Mixed(Painter):
        noise_dim = 2

        def forward(self, noise, text):
            return super().forward(noise[:, :1], text)  # the colour is the first number of two

    pair, data = scene(augment=lambda pictures: pictures + 1)
    pair = Networks(Mixed(), Frozen2())
    # The nearest colours to REAL first: each pair's distance is 0, 0.3, 3 and 0.6.
    data.noise = torch.tensor([[0.3, 0.3], [-0.4, -0.7], [2.0, 5.0], [0.1, 0.7]]).expand(2, -1, -1)
    objective = Hinge(variety=2, mode_seeking=5.0, mixed_captions=0.0)
    objective.discriminator(pair, data)
    loss, terms = objective.generator(pair, data)
    between = sum(abs(a - b) for a, b in zip(REAL, REAL[-1:] + REAL[:-1], strict=True)) / 4
    expected = sum(relu(APART - distance / between) for distance in (0.0, 0.3, 3.0, 0.6)) / 4
    assert terms["mode_seeking"].item() == pytest.approx(expected)
    without = Hinge(variety=2, mixed_captions=0.0).generator(pair, data)[0]
    assert loss.item() == pytest.approx(without.item() + 5.0 * expected, abs=1e-6)
    assert not data.memo


def test_what_tanh_takes_is_pulled_back_to_its_bound_where_tanh_has_no_slope():
    class Glaring(Painter):
        def before_tanh(self, noise, text):
            self.values = self(noise, text)
            return self.values

    pair, data = scene()
    pair = Networks(Glaring(), pair.discriminator)
    data.noise = torch.tensor([[1.0], [-2.5], [4.0], [-30.0]]).expand(2, -1, -1)
    loss, terms = Hinge(saturation=2.0).generator(pair, data)
    assert terms["saturation"].item() == pytest.approx((1**2 + 27**2) / 4)
    loss.backward()
    of_colours = pair.generator.values.grad.sum((1, 2, 3))
    assert of_colours[3].item() == pytest.approx(-2.0 * 2 * 27 / 4)  # tanh itself lets nothing through there
    assert "saturation" not in Hinge().generator(*scene())[1]


def test_one_pass_of_the_generator_serves_both_steps_unless_there_are_micro_batches_to_keep_it_for():
    for micro_batches in (1, 2):
        pair, data = scene(micro_batches=micro_batches)
        Hinge().discriminator(pair, data)
        assert bool(data.memo) == (micro_batches == 1)
        Hinge().generator(pair, data)
        assert pair.generator.made == micro_batches and not data.memo


def test_pictures_are_augmented_alike_once_each():
    seen = []

    def augment(pictures):
        seen.append(pictures)
        return pictures + 1

    pair, data = scene(augment=augment)
    _, terms = Hinge(mixed_captions=0.0).discriminator(pair, data)
    Hinge().generator(pair, data)
    assert len(seen) == 2 and any(pictures is data.images for pictures in seen)
    assert terms["fake"].item() == pytest.approx(
        sum(relu(2 + x + t) + relu(2 + x) / 2 for x, t in zip(NOISE, TEXT, strict=True)) / 4
    )


def own(**changes):
    torch.manual_seed(4)
    frozen = Frozen(Toy(), "toy", "0" * 64)
    return networks("textbloom", discriminator_features=8, backbone=frozen, backbone_side=32, **changes)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_the_backbone_sees_real_pictures_once_and_generated_ones_once_unless_there_are_micro_batches(micro_batches):
    pair = own()
    found, seen = trainer(pair, objective=Hinge(), accumulate=micro_batches), []
    pair.discriminator.backbone.network.register_forward_hook(lambda network, given, maps: seen.append(given[0]))
    found.advance(*batch(micro_batches=micro_batches))
    assert len(seen) == (2 if micro_batches == 1 else 3 * micro_batches)
    assert all(len(pictures) == 6 // micro_batches for pictures in seen)


def test_pictures_kept_for_the_generators_step_give_it_the_gradients_of_those_made_again():
    """With micro-batches they are made again: by the same weights and noise that is the same."""
    gradients = []
    for micro_batches in (1, 2):
        pair, (images, text, _) = own(), batch()
        noise = torch.randn(6, pair.generator.noise_dim, generator=torch.Generator().manual_seed(5))
        data = Batch(images, text, noise.expand(2, -1, -1), micro_batches=micro_batches)
        judging = [weight for weight in pair.discriminator.parameters() if weight.requires_grad]
        making = list(pair.generator.parameters())
        Hinge().discriminator(pair, data)[0].backward()
        assert all(weight.grad is None for weight in making)
        for weight in judging:
            weight.requires_grad_(False)  # as the trainer does
        Hinge().generator(pair, data)[0].backward()
        gradients.append([weight.grad for weight in judging + making])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, again, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_two_steps_move_both_networks_and_neither_the_backbone_nor_the_mixture(autocast):
    pair = own()
    kept = [pair.discriminator.backbone.network, pair.discriminator.mixture]
    before = [[value.clone() for value in part.state_dict().values()] for part in kept]
    found = trainer(pair, objective=Hinge(), autocast=autocast, augment=augmentation.geometric)
    learning = {
        f"{name}.{key}": weight
        for name, network in vars(pair).items()
        for key, weight in network.named_parameters()
        if weight.requires_grad
    }
    old = {name: weight.detach().clone() for name, weight in learning.items()}
    for _ in range(2):
        losses = found.advance(*batch())
        assert not any(part.training for part in pair.discriminator.backbone.network.modules())
    assert list(losses) == ["discriminator", "generator", "d_real", "d_fake", "d_wrong", "g_adversarial", "g_kl"]
    assert all(torch.isfinite(value) for value in losses.values())
    still = [name for name, weight in learning.items() if torch.equal(weight, old[name])]
    # While every logit is within the margin, real and negative pairs pull its bias with equal force.
    assert [name for name in still if not name.endswith("realness.bias")] == []
    for part, values in zip(kept, before, strict=True):
        assert all(torch.equal(value, was) for value, was in zip(part.state_dict().values(), values, strict=True))


def test_both_steps_judge_the_same_pictures_with_the_first_noise():
    found, seen = trainer(own(), objective=Hinge()), []
    found.networks.generator.register_forward_hook(lambda network, given, made: seen.append(given[0]))
    found.advance(*batch())
    (noise,) = seen
    drawn = torch.randn(2, 6, noise.shape[1], generator=generator_for(SEED, "noise", 0, CPU))
    assert torch.equal(noise, drawn[0])


@pytest.mark.usefixtures("_saves_each_step")
def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(tmp_path):
    def stop(step):
        if step == 4:
            raise InterruptedError

    def run(folder, **changes):
        made = {"of": own(), "objective": Hinge(), "augment": augmentation.geometric, "autocast": torch.bfloat16}
        found, log = train(tmp_path / folder, **made, **changes)
        return [*nn.ModuleList([*vars(found.networks).values(), found.ema.network]).state_dict().values(), log.sheets]

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("cut", after_step=stop)
    torch.manual_seed(99)  # what is drawn in the second process has nothing to do with the first
    assert all(torch.equal(a, b) for a, b in zip(whole, run("cut"), strict=True))
