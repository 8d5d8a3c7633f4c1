"""A trained folder opened: its generator, the first stage of one of two, and pictures from embeddings."""

import contextlib
import json

import pytest
import torch
from support.tiny_training import SMALL, networks

from textbloom.core import trained_folder
from textbloom.core.errors import UserError
from textbloom.core.tensors import to_uint8
from textbloom.sampling.generator import load_generator

ENCODER = {"name": "any", "sha256": "0" * 64}
NETWORK = {"name": "dcgan", "size": 64, "discriminator_text": True, **SMALL}


def saved(folder, pair, config):
    averaged = networks(config["network"]["name"], config["network"]["size"]).generator
    for weight in averaged.parameters():
        weight.data *= 1.1
    trained_folder.save_networks(folder, pair.generator, averaged, pair.discriminator, {"encoder": ENCODER} | config)


def test_the_averaged_and_the_raw_generator_make_the_pictures_of_their_weights(tmp_path):
    pair, text, noise = networks(), torch.randn(5, 12), torch.randn(5, 5)
    saved(tmp_path, pair, {"network": NETWORK})
    raw, averaged = (load_generator(tmp_path, weights) for weights in ("raw", "ema"))
    expected = to_uint8(pair.generator.eval()(noise, text))
    assert torch.equal(raw.sample(text, noise), expected)
    assert not torch.equal(averaged.sample(text, noise), expected)
    assert (raw.size, raw.noise_dim, raw.first) == (64, 5, None)
    assert not any(weight.requires_grad for weight in raw.network.parameters())


def test_pictures_are_those_of_a_seed_however_many_are_made_at_once(tmp_path):
    saved(tmp_path, networks(), {"network": NETWORK})
    generator, text = load_generator(tmp_path, "ema"), torch.randn(5, 12)
    noise = generator.noise(5, seed=1)
    parts = [generator.sample(t, z) for t, z in zip(text.split(2), noise.split(2), strict=True)]
    assert torch.equal(generator.sample(text, noise), torch.cat(parts))
    assert torch.equal(noise, generator.noise(5, seed=1)) and not torch.equal(noise, generator.noise(5, seed=2))


def test_a_second_stage_is_opened_with_its_first(tmp_path):
    pair = networks("stackgan", 128)
    small = {**NETWORK, "name": "stackgan"}
    saved(tmp_path, pair, {"network": {**small, "size": 128}, "first": small})
    loaded = load_generator(tmp_path, "raw")
    assert loaded.first is not None
    assert (loaded.size, loaded.first.size, loaded.noise_dim, loaded.first.noise_dim) == (128, 64, 17, 11)
    noise, text = torch.randn(3, 17), torch.randn(3, 12)
    sketches = to_uint8(pair.generator.eval().first(noise[:, :11], text))
    assert torch.equal(loaded.first.sample(text, noise[:, :11]), sketches)
    assert loaded.sample(text, noise).shape == (3, 3, 128, 128)


def test_embeddings_of_another_length_are_refused(tmp_path):
    saved(tmp_path, networks(), {"network": NETWORK})
    with pytest.raises(UserError, match=r"trained on 12-d embeddings, these have 7: set encoder\.name back"):
        load_generator(tmp_path, "ema").sample(torch.randn(2, 7), torch.randn(2, 5))


def test_a_folder_without_a_config_or_of_another_network_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing: run `make repro`, which trains a generator"):
        load_generator(tmp_path, "ema")
    saved(tmp_path, networks(), {"network": NETWORK})
    for changed in ({"features": 8}, {"name": "unknown"}, {"unknown": 1}):
        (tmp_path / trained_folder.CONFIG).write_text(
            json.dumps({"encoder": ENCODER, "network": {**NETWORK, **changed}})
        )
        with pytest.raises(UserError, match=r"generator-ema\.safetensors does not fit .*config\.json"):
            load_generator(tmp_path, "ema")
    unnamed = {"network": NETWORK, "encoder": {"name": "any"}}
    for damaged, key in (({"network": NETWORK}, "encoder"), (unnamed, r"encoder\.sha256"), ({}, "network")):
        (tmp_path / trained_folder.CONFIG).write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=rf"config\.json is damaged \({key}: Field required\): run `make repro`"):
            load_generator(tmp_path, "ema")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", ["dcgan", "stackgan", "textbloom"])
def test_a_damaged_number_of_the_network_is_one_line(tmp_path, name):
    saved(tmp_path, networks(name), {"network": {**NETWORK, "name": name}})
    for key in ("size", "noise_dim", "features", "embedding_dim", "text_projection", "widths", "text_directions"):
        for value in ("64", -1, 1.5, 10**30, {}):
            network = {**NETWORK, "name": name, key: value}
            (tmp_path / trained_folder.CONFIG).write_text(json.dumps({"encoder": ENCODER, "network": network}))
            with contextlib.suppress(UserError):  # a key that this system does not look at may be anything
                load_generator(tmp_path, "ema")


def test_pictures_span_the_whole_range_and_round_to_nearest():
    assert to_uint8(torch.tensor([-1.0, 1.0, 0.0, -1 + 2 * 7.4 / 255, 5.0])).tolist() == [0, 255, 128, 7, 255]
