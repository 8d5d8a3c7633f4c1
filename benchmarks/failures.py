"""The worst pictures of a generator beside middling and good ones: the figures of docs/failures.md.

    PYTHONPATH=src python benchmarks/failures.py worst.png      # after `make repro`, or dvc repro evaluate

All pictures that evaluation makes for held-out captions are ordered by how far the judge of `evaluate.extractor` sees
each from the real picture nearest to it. Nobody picks: the sheet shows the first, the middle and the last of them.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from textbloom import config
from textbloom.app import compare
from textbloom.core import errors
from textbloom.core.seeding import seed_for
from textbloom.sampling.generator import load_generator
from textbloom.viz.sheet import Row, Sheet

SHOWN = 7  # pictures a row


def main() -> None:
    p = config.load()
    generator, evaluator = (
        load_generator(config.trained(p.evaluate.model), p.evaluate.generator),
        compare.evaluator_of(p, p.images.size),
    )
    noise = generator.noise(len(evaluator.captions), seed_for(p.seed, "evaluated pictures", 0))
    pictures = generator.sample(evaluator.embeddings, noise)
    seen = evaluator.extractor(pictures, "generated pictures").features
    distances = torch.cdist(seen, evaluator.real.features.features).amin(1)
    order = distances.argsort(descending=True)
    middle = (len(order) - 2 * SHOWN) // 2

    def rows(places: Tensor, name: str) -> list[Row]:
        return [
            Row(pictures[some], left=name, beneath=[evaluator.captions[place] for place in some.tolist()])
            for some in places.split(SHOWN)
        ]

    sheet = Sheet(
        rows(order[: 3 * SHOWN], "the worst") + rows(order[middle : middle + 2 * SHOWN], "the middle")
        + rows(order[-SHOWN:], "the best"),
        title=f"{len(order)} pictures of held-out captions, by their distance from real ones",
        note=f"Distance to the nearest real picture of the same split, in the features of {evaluator.extractor.name}.",
        tile=128,
    )  # fmt: skip
    sheet.save(Path(sys.argv[1]))


if __name__ == "__main__":
    errors.run(main)
