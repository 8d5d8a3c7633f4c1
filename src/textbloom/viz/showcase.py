"""The sheets that show what a trained generator does with captions, held-out ones where any are."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from textbloom.core.seeding import generator_for
from textbloom.viz.examples import Examples
from textbloom.viz.grids import caption_grid
from textbloom.viz.interpolation import spherical, straight
from textbloom.viz.neighbours import nearest
from textbloom.viz.sheet import Row, Sheet

DRAWS = 3  # pictures of one caption beside the real one
STEPS = 8  # pictures of an interpolation, its ends included
NEIGHBOURS = 4


class Generator(Protocol):
    """Pictures from embeddings: see `textbloom.sampling.generator.TrainedGenerator`."""

    @property
    def noise_dim(self) -> int: ...

    @property
    def first(self) -> "Generator | None": ...

    def sample(self, embeddings: Tensor, seed: int, noise: Tensor | None = None) -> Tensor: ...


def samples(generator: Generator, shown: Examples, path: Path, columns: int, seed: int) -> Tensor:
    """Write one generated picture for each caption as a grid; returns the pictures uint8 [n, 3, S, S]."""
    pictures = generator.sample(shown.embeddings, seed)
    which = "saw" if shown.seen else "never saw"
    caption_grid(pictures, shown.captions, path, columns, title=f"Generated for captions that training {which}")
    return pictures


def real_beside_generated(generator: Generator, shown: Examples, path: Path, seed: int) -> None:
    """A row a caption: its own real picture, then pictures generated for it from three noises.

    Of a generator of two stages the sketches of the first, as large as the pictures, stand before them.
    """
    embeddings = shown.embeddings.repeat_interleave(DRAWS, dim=0)
    noise = _noise(generator, len(embeddings), seed, "real beside generated")
    made = {"generated, from three noises": generator.sample(embeddings, seed, noise=noise)}
    if generator.first is not None:
        sketches = generator.first.sample(embeddings, seed, noise=noise[:, : generator.first.noise_dim])
        size = shown.images.shape[-1]
        made = {
            "first stage, from three noises": _enlarged(sketches, size),
            "second stage, from the same": made.popitem()[1],
        }
    rows = [
        Row(torch.cat([real.unsqueeze(0), *drawn]), left=caption)
        for caption, real, *drawn in zip(
            shown.captions,
            shown.images,
            *(each.unflatten(0, (len(shown), DRAWS)) for each in made.values()),
            strict=True,
        )
    ]
    headings = ["real", *(text for name in made for text in (name, "", ""))]
    Sheet(rows, title=_title("Real beside generated", shown), headings=headings, first_apart=True).save(path)


def interpolation_captions(generator: Generator, shown: Examples, path: Path, seed: int) -> None:
    """A row a pair of captions (first and second, third and fourth, …): from one to the other under one noise."""
    pairs = [(first, first + 1) for first in range(0, len(shown) - 1, 2)] or [(0, 0)]
    noise = _noise(generator, len(pairs), seed, "caption interpolation")
    rows = []
    for (first, second), z in zip(pairs, noise, strict=True):
        path_between = straight(shown.embeddings[first], shown.embeddings[second], STEPS)
        pictures = generator.sample(path_between, seed, noise=z.expand(STEPS, -1))
        rows.append(Row(pictures, left=shown.captions[first], right=shown.captions[second]))
    note = "Evenly spaced mixtures of the two captions' embeddings; one noise a row."
    Sheet(rows, title=_title("From one caption to another", shown), note=note, tile=128).save(path)


def interpolation_noise(generator: Generator, shown: Examples, path: Path, seed: int) -> None:
    """A row a caption: from one noise to another, along the arc between them."""
    noise = _noise(generator, 2 * len(shown), seed, "noise interpolation").unflatten(0, (len(shown), 2))
    rows = []
    for caption, embedding, (start, end) in zip(shown.captions, shown.embeddings, noise, strict=True):
        between = spherical(start, end, STEPS)
        rows.append(Row(generator.sample(embedding.expand(STEPS, -1), seed, noise=between), left=caption))
    note = "The caption stays; the noise turns from one draw to another at equal angles."
    Sheet(rows, title=_title("One caption, from one noise to another", shown), note=note, tile=128).save(path)


def nearest_training(pictures: Tensor, shown: Examples, training: Tensor, path: Path, rows: int) -> None:
    """Write the first `rows` generated pictures, each beside the training pictures nearest to it.

    `pictures` uint8 [n, 3, S, S] were generated for `shown`; `training` uint8 [N, 3, S, S] are all training
    pictures. The note compares the median distance of `pictures` with that of the same captions' real pictures; blurred
    pictures lie nearer to all others than sharp ones, so a smaller median alone does not mean copying.
    """
    count = min(NEIGHBOURS, len(training))
    indices, distances = nearest(pictures, training, count)
    # A real picture that training saw is its own nearest: the next one tells.
    own = 1 if shown.seen and len(training) > 1 else 0
    of_real = nearest(shown.images, training, own + 1)[1][:, own]
    real = "real ones, to the nearest other," if shown.seen else "real held-out pictures"
    strips = [
        Row(
            torch.cat([pictures[i : i + 1], training[indices[i]]]),
            left=shown.captions[i],
            beneath=["", *(f"{distance:.0f}" for distance in distances[i].tolist())],
        )
        for i in range(min(rows, len(pictures)))
    ]
    note = (
        "Beneath each training picture: the root mean square difference of its pixels from the generated one's, "
        f"0 to 255, at 64×64. Median distance to the nearest, over {len(pictures)} captions: generated pictures "
        f"{distances[:, 0].median():.0f}, {real} {of_real.median():.0f}. A copy would be at 0."
    )
    headings = ["generated", "nearest training pictures", *[""] * (count - 1)]
    Sheet(
        strips,
        title=_title("Nearest training pictures", shown),
        note=note,
        headings=headings,
        row_gap=14,
        tile=128,
        first_apart=True,
    ).save(path)


def _enlarged(pictures: Tensor, size: int) -> Tensor:
    """Pictures [n, 3, S, S] with every pixel repeated to [n, 3, size, size]."""
    factor = size // pictures.shape[-1]
    return pictures.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)


def _title(text: str, shown: Examples) -> str:
    return f"{text} (captions seen in training)" if shown.seen else text


def _noise(generator: Generator, count: int, seed: int, purpose: str) -> Tensor:
    return torch.randn(count, generator.noise_dim, generator=generator_for(seed, purpose))
