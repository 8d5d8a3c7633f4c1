"""The DCGAN generator under the project's own discriminator: system A's pictures, of the captions' main directions."""

import torch
from support.tiny_training import SMALL, Toy, networks

from textbloom import models
from textbloom.models import textbloom
from textbloom.models.base import Frozen
from textbloom.models.text_directions import TextDirections


def test_the_generator_is_system_as_with_relu_on_the_captions_directions():
    pair = networks("projected-dcgan")
    captions, noise = torch.randn(50, 12), torch.randn(3, SMALL["noise_dim"])
    models.fit_text(pair.generator, pair.discriminator, captions)
    expected = TextDirections(12, None)
    expected.fit(captions)
    own = pair.generator.state_dict()
    assert torch.equal(own.pop("directions.directions"), expected.directions)
    assert torch.equal(own.pop("directions.mean"), expected.mean)
    of_b = networks("gan-cls").generator  # system A's layers with ReLU first
    of_b.load_state_dict(own)
    with torch.no_grad():
        found, wanted = pair.generator(noise, captions[:3]), of_b(noise, expected(captions[:3]))
        before = pair.generator.before_tanh(noise, captions[:3])
    assert found.shape == (3, 3, 64, 64)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found, before.tanh())


def test_the_discriminator_is_the_projects_own_and_the_generator_is_built_again_without_its_backbone():
    backbone = Frozen(Toy(), "toy", "ab" * 32)
    pair = networks("projected-dcgan", discriminator_features=8, backbone=backbone, backbone_side=32)
    assert type(pair.discriminator) is textbloom.ProjectedDiscriminator and len(pair.discriminator.heads) == 3
    network = {**SMALL, "name": "projected-dcgan", "size": 64, "discriminator_text": True}
    again = models.generator_of({"network": network})
    again.load_state_dict(pair.generator.state_dict())
