"""Three steps of a published system; run as a program, it prints the sha256 of every network after them.

python three_steps.py portable|plain NAME...
"""

import json
import sys

import torch

from textbloom import models
from textbloom.core import runtime
from textbloom.core.tensors import sha256_of
from textbloom.training import objectives
from textbloom.training.objectives.base import Networks
from textbloom.training.trainer import Trainer

SHAPE = {
    "size": 64,
    "embedding_dim": 12,
    "noise_dim": 5,
    "features": 4,
    "text_projection": 6,
    "discriminator_text": True,
}
SYSTEM_A = {"negatives_weight": 0.5, "feature_matching": 100.0, "pixel_l1": 50.0}
OBJECTIVES = {
    "dcgan": SYSTEM_A,
    "gan-cls": {**SYSTEM_A, "label_smoothing": 0.1},
    "stackgan": {"negatives_weight": 0.5, "conditioning_kl": 1.0},
}
ADAM = {"lr": 0.0002, "betas": (0.5, 0.999)}


def batch(size, step):
    stream = torch.Generator().manual_seed(100 + step)
    images = torch.randint(0, 256, (6, 3, size, size), generator=stream, dtype=torch.uint8).float()
    images = images.div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)
    return images, torch.randn(6, 12, generator=stream), torch.arange(6).roll(1)


def trained(system, networks, size):
    objective = objectives.build(system, **OBJECTIVES[system])
    optimizers = {"generator": ADAM, "discriminator": ADAM}
    trainer = Trainer(Networks(*networks), objective, optimizers, torch.device("cpu"), seed=7, ema_half_life=4414)
    for step in range(3):
        trainer.advance(*batch(size, step))
    found = {"generator": trainer.networks.generator, "discriminator": trainer.networks.discriminator}
    return {name: sha256_of(network.state_dict()) for name, network in found.items()}


def run(name):
    """`name`: a system, with " refined" behind it for its second stage."""
    system, refined = name.split()[0], name.endswith("refined")
    torch.manual_seed(1)
    built = models.build(system, **SHAPE)
    if refined:
        built = models.refine(built[0], system, **{**SHAPE, "size": 128})
    return trained(system, built, 128 if refined else 64)


def main():
    mode, *names = sys.argv[1:]
    runtime.portable(mode == "portable")
    torch.set_num_threads(1)
    json.dump({name: run(name) for name in names}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
