"""What each choice of the training loop is worth: ours, and ours with one thing otherwise, taking turns.

    PYTHONPATH=src python benchmarks/switches.py               # F = 64, batch 64, 64 pixels
    PYTHONPATH=src python benchmarks/switches.py --portable    # ours alone in that mode; likewise --deterministic

System A, all losses on. A turn ends when its last loss is read.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from training import Ours, make_plain, prepared

from textbloom.core import runtime

PICTURES, STEPS = 256, 6
Change = Callable[[Ours], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--portable", action="store_true")
    parser.add_argument("--deterministic", action="store_true")
    options = parser.parse_args()
    runtime.portable(options.portable)
    options.seed, options.embedding_dim = 1, 768
    runtime.deterministic(options.deterministic)
    changes = {"ours": CHANGES["ours"]} if options.portable or options.deterministic else CHANGES
    rates = _rates(changes, options)
    base = statistics.median(rates["ours"])
    print("| way | images/s (least to most) | of ours |\n|---|---|---|")
    for way, found in rates.items():
        middle = statistics.median(found)
        print(f"| {way} | {middle:.4g} ({min(found):.4g} to {max(found):.4g}) | {middle / base:.2f} |")


def _plain_layout(ours: Ours) -> None:
    for network in (ours.trainer.networks.generator, ours.trainer.networks.discriminator):
        network.to(memory_format=torch.contiguous_format)


def _plain_convolutions(ours: Ours) -> None:
    for network in (ours.trainer.networks.generator, ours.trainer.networks.discriminator):
        make_plain(network)


def _plain_adam(ours: Ours) -> None:
    for optimizer in ours.trainer.optimizers.values():
        for group in optimizer.param_groups:
            group["fused"] = False


def _float32(ours: Ours) -> None:
    ours.trainer.autocast = None


def _compiled(ours: Ours) -> None:
    generator, discriminator = ours.trainer.networks.generator, ours.trainer.networks.discriminator
    generator.compile()
    for name in ("features", "score"):  # called by name, not through forward
        setattr(discriminator, name, torch.compile(getattr(discriminator, name)))


CHANGES: dict[str, Change] = {
    "ours": lambda ours: None,
    "train.precision: fp32": _float32,
    "convolutions all torch's own": _plain_convolutions,
    "weights not in channels_last": _plain_layout,
    "Adam not fused": _plain_adam,
    "torch.compile": _compiled,
}


def _rates(changes: dict[str, Change], options: argparse.Namespace) -> dict[str, list[float]]:
    stream = torch.Generator().manual_seed(1)
    count = max(PICTURES, options.batch)
    pictures = torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=stream)
    embeddings = torch.randn(count, options.embedding_dim, generator=stream)
    device = runtime.device()
    ways = {}
    for name, change in changes.items():
        ways[name] = Ours(prepared(pictures, embeddings), options, device)
        change(ways[name])
        ways[name](2)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, ours in ways.items():
            started = time.perf_counter()
            ours(STEPS)  # ends by reading a loss, which waits for the device
            rates[name].append(STEPS * options.batch / (time.perf_counter() - started))
    return rates


if __name__ == "__main__":
    main()
