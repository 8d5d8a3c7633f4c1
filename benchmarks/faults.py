"""How each measure moves when real pictures are harmed: a table, and the figure of docs/measures.md.

    PYTHONPATH=src python benchmarks/faults.py docs/measures/faults.png      # after `make repro`, of its drawn flowers

The "generated" pictures are the held-out real ones themselves, blurred, with noise, of few flowers only, or with their
captions moved to others; another draw of a caption is another flower of its class.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchvision.utils import make_grid

from textbloom import config
from textbloom.app import compare
from textbloom.core import errors
from textbloom.core.files import replacing
from textbloom.core.tensors import load_metadata

MEASURES = (
    "frechet_distance", "kernel_distance", "precision", "recall", "diversity", "perceptual_diversity",
    "petal_number_distance", "retrieval_at_10", "petal_colour_accuracy",
)  # fmt: skip
SHOWN = 5  # pictures in a row and in a column of the harmed ones that the figure shows


def blurred(images: Tensor, side: int) -> Tensor:
    """Each pixel the mean of `side` × `side` around it."""
    return avg_pool2d(images.float(), side, 1, side // 2, count_include_pad=False).round().to(torch.uint8)


def noisy(images: Tensor, deviation: int) -> Tensor:
    noise = deviation * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images.float() + noise).round().clamp(0, 255).to(torch.uint8)


def of_few(images: Tensor, kept: int) -> Tensor:
    """Every picture is one of `kept`."""
    return images[torch.arange(len(images)) % kept]


def misplaced(images: Tensor, percent: int) -> Tensor:
    """Of the first so many percent each has the caption of another one."""
    count = round(len(images) * percent / 100)
    return torch.cat([images[:count].roll(count // 2, 0), images[count:]])


FAULTS: dict[str, tuple[Callable[[Tensor, int], Tensor], tuple[int, ...]]] = {
    "blur, pixels": (blurred, (3, 5, 9)),
    "noise, deviation": (noisy, (10, 25, 50)),
    "different flowers left": (of_few, (100, 30, 10)),
    "captions misplaced, %": (misplaced, (33, 67, 100)),
}


def main() -> None:
    p = config.load()
    evaluator = compare.evaluator_of(p, p.images.size)
    trained = load_metadata(config.EMBEDDINGS) | {"pretrained": []}
    images = evaluator.real.images
    classes = torch.from_numpy(evaluator.real.split.pictures.class_ids[evaluator.real.rows.numpy()])

    def measured(harmed: Tensor) -> dict[str, float]:
        def make(places: Tensor, draw: int) -> Tensor:
            if draw == 0:
                return harmed[places]
            alike = [(classes == classes[place]).nonzero()[:, 0] for place in places]
            return harmed[torch.stack([rows[(n + draw) % len(rows)] for n, rows in enumerate(alike)])]

        return evaluator.measure(make, trained).metrics

    sound = measured(images)
    print("| fault | " + " | ".join(MEASURES) + " |\n" + "|---" * (len(MEASURES) + 1) + "|")
    _row("none", sound)
    found: dict[str, list[dict[str, float]]] = {}
    worst = {}
    for fault, (harm, strengths) in FAULTS.items():
        found[fault] = [sound]
        for strength in strengths:
            harmed = harm(images, strength)
            found[fault].append(measured(harmed))
            _row(f"{fault}: {strength}", found[fault][-1])
        worst[fault] = harmed[: SHOWN * SHOWN]
    if sys.argv[1:]:
        _draw(found, worst, Path(sys.argv[1]))


def _row(name: str, values: dict[str, float]) -> None:
    print(f"| {name} | " + " | ".join(f"{values[measure]:.3g}" for measure in MEASURES) + " |", flush=True)


def _draw(found: dict[str, list[dict[str, float]]], worst: dict[str, Tensor], path: Path) -> None:
    """A column a fault: some pictures at its greatest strength, then a row a measure, whose cells share their axis."""
    figure = Figure(figsize=(9, 14), layout="constrained")
    pictures, curves = figure.subfigures(2, 1, height_ratios=(2, 2 + len(MEASURES)))
    for cell, (fault, harmed) in zip(pictures.subplots(1, len(worst)), worst.items(), strict=True):
        cell.imshow(make_grid(harmed, nrow=SHOWN, padding=1, pad_value=255).permute(1, 2, 0))
        cell.set_title(f"{fault}: {FAULTS[fault][1][-1]}", fontsize=9)
        cell.axis("off")
    cells = curves.subplots(len(MEASURES), len(found), sharex="col", sharey="row", squeeze=False)
    for row, measure in zip(cells, MEASURES, strict=True):
        for cell, (fault, values) in zip(row, found.items(), strict=True):
            cell.plot(range(len(values)), [value[measure] for value in values], "o-", color="#c2185b", markersize=4)
            cell.set_xticks(range(len(values)), ["none", *map(str, FAULTS[fault][1])])
            cell.grid(alpha=0.3)
        row[0].set_ylim(bottom=0)  # now that the cells of the row, which share it, have found its top
        row[0].set_ylabel(measure.replace("_accuracy", "").replace("_", "\n"), rotation=0, ha="right", va="center")
    for cell, fault in zip(cells[-1], found, strict=True):
        cell.set_xlabel(fault)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)


if __name__ == "__main__":
    errors.run(main)
