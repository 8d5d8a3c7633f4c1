"""Whether ours trains as the notebook's way does: both losses over some epochs, from several seeds each.

    PYTHONPATH=src python benchmarks/agreement.py    # after `make repro`: the pictures are the pipeline's

The notebook's way (float32, three passes of the discriminator) has its data in memory here: decoding changes no loss.
"""

import argparse
import statistics
from collections.abc import Sequence

import torch
from torch.utils.data import TensorDataset
from training import Notebook, Ours, prepared

from textbloom import config
from textbloom.core import runtime
from textbloom.dataset.prepared import load

EPOCHS, PICTURES, SEEDS = 8, 1024, (1, 2, 3)
FILES = (config.CAPTIONS, config.IMAGES, config.IMAGE_IDS, config.EMBEDDINGS)
Curve = list[tuple[float, float]]


def main() -> None:
    data = load(*FILES, splits=("train", "val"))
    pictures, embeddings = data.images[torch.arange(PICTURES)], data.first_embeddings[:PICTURES]
    curves: dict[str, list[Curve]] = {"notebook": [], "ours": []}
    for seed in SEEDS:
        options = argparse.Namespace(features=16, batch=64, seed=seed, embedding_dim=embeddings.shape[1])
        torch.manual_seed(seed)
        in_memory = TensorDataset(pictures.float().div(127.5).sub(1.0), embeddings)
        device = runtime.device()
        curves["notebook"].append(_curve(Notebook(in_memory, options, device)))
        curves["ours"].append(_curve(Ours(prepared(pictures, embeddings), options, device)))
    print(f"F = 16, batch 64, {len(pictures)} pictures, seeds {SEEDS}: mean of the seeds (least to most)\n")
    print("| epoch | D, notebook | D, ours | G, notebook | G, ours |\n|---|---|---|---|---|")
    for epoch in range(EPOCHS):
        cells = [_cell([curve[epoch][which] for curve in found]) for which in (0, 1) for found in curves.values()]
        print(f"| {epoch + 1} | {' | '.join(cells)} |")


def _curve(way: Notebook | Ours) -> Curve:
    """Both losses of each epoch, the means over its steps."""
    steps = PICTURES // 64
    means = []
    for epoch in range(EPOCHS):
        for _ in range(steps):
            way(1)
        seen = way.losses[epoch * steps :]
        means.append((statistics.mean(d for d, _ in seen), statistics.mean(g for _, g in seen)))
    return means


def _cell(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
