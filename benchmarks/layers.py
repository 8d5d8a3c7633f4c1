"""How well a line through caption vectors tells the colours of petals and centre, by the encoder's layer.

    PYTHONPATH=src python benchmarks/layers.py        # after `make repro`, of its drawn flowers

A ridge regression from vectors to colours learns with the train classes and reads the captions of val and of test
classes, whose pairs of colours it never saw. Its penalty is chosen by val.
"""

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from textbloom import config
from textbloom.core import errors
from textbloom.dataset.prepared import read_captions
from textbloom.text import pretrained

PENALTIES = (0.01, 0.1, 1.0)


def main() -> None:
    p = config.load()
    captions = read_captions(config.CAPTIONS)
    attributes = config.attributes("drawn")
    assert attributes is not None
    colours = pd.read_csv(attributes / "attributes.csv", index_col="image_id").loc[captions["image_id"]]
    print("| layers | petal colour, val | centre colour, val | petal colour, test | centre colour, test |")
    print("|---|---|---|---|---|")
    for layers in (1, 2, 3, 4, 5, None):
        encoder = pretrained.load(
            p.encoder.name, p.encoder.revision, p.encoder.path, source=p.encoder.source, layers=layers
        )
        vectors = encoder.encode(captions["caption"].tolist(), p.encoder.batch_size)
        sides = {split: torch.tensor((captions["split"] == split).to_numpy()) for split in ("train", "val", "test")}
        read = [_read(vectors, colours[f"{part}_colour"], sides) for part in ("petal", "centre")]
        figures = [read[part][split] for split in (0, 1) for part in (0, 1)]
        print(f"| {layers or 'all 6'} |", " | ".join(f"{figure:.3f}" for figure in figures), "|", flush=True)


def _read(vectors: Tensor, names: "pd.Series[str]", sides: dict[str, Tensor]) -> tuple[float, float]:
    """Shares of the val and of the test captions whose colour is read rightly."""
    colours = pd.Categorical(names)
    wanted = torch.tensor(colours.codes).long()
    train = sides["train"]
    centred = vectors - vectors[train].mean(0)
    centred = centred / centred[train].norm(dim=1).mean()
    known, targets = centred[train], F.one_hot(wanted[train], len(colours.categories)).float()
    right = [
        centred
        @ torch.linalg.solve(
            known.T @ known + penalty * torch.eye(known.shape[1]), known.T @ (targets - targets.mean(0))
        )
        for penalty in PENALTIES
    ]
    return max((_share(r, wanted, sides["val"]), _share(r, wanted, sides["test"])) for r in right)


def _share(scores: Tensor, wanted: Tensor, chosen: Tensor) -> float:
    return (scores.argmax(1) == wanted)[chosen].float().mean().item()


if __name__ == "__main__":
    errors.run(main)
