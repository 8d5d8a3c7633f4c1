"""The sheets that show what a trained generator makes of captions: held-out ones, where any are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from textbloom.core.seeding import generator_for
from textbloom.dataset.eval_split import EvalSplit
from textbloom.sampling.generator import TrainedGenerator
from textbloom.viz.sheet import Row, Sheet

DRAWS = 3  # pictures of one caption beside the real one
STEPS = 8  # pictures of an interpolation, its ends included
NEIGHBOURS = 4  # training pictures beside a generated one
PROGRESS_ROWS = 12
COMPARED_SIDE = 64  # pixels; larger pictures are averaged down to it
CHUNK = 1024  # training pictures that are compared at once


@dataclass(frozen=True)
class Examples:
    """n captions, their embeddings float32 [n, D] and their own real pictures uint8 [n, 3, S, S].

    seen: whether training saw them.
    """

    captions: list[str]
    embeddings: Tensor
    images: Tensor
    seen: bool = False

    def __len__(self) -> int:
        return len(self.captions)

    def first(self, count: int) -> "Examples":
        """The first `count` of them, or all where there are fewer."""
        return Examples(self.captions[:count], self.embeddings[:count], self.images[:count], self.seen)

    def title(self, text: str) -> str:
        """The title of a sheet of these."""
        return f"{text} (captions seen in training)" if self.seen else text


def choose(split: EvalSplit, count: int, seed: int) -> Examples:
    """At most `count` first captions of pictures, no text twice, as many classes as possible before one comes again."""
    pictures = split.pictures
    captions = pictures.first_captions
    shuffled = torch.randperm(len(captions), generator=generator_for(seed, "shown captions")).tolist()
    turns: dict[int, int] = {}
    seen: set[str] = set()
    candidates: list[tuple[int, int]] = []
    for index in shuffled:
        if captions[index] not in seen:
            seen.add(captions[index])
            class_id = int(pictures.class_ids[index])
            turns[class_id] = turns.get(class_id, -1) + 1
            candidates.append((turns[class_id], index))
    # The sort is stable: within a turn the order stays shuffled.
    chosen = [index for _, index in sorted(candidates, key=lambda candidate: candidate[0])[:count]]
    own = [captions[i] for i in chosen]
    return Examples(own, pictures.first_embeddings[chosen], pictures.images[chosen], split.seen)


def caption_grid(images: Tensor, captions: Sequence[str], columns: int, title: str = "") -> Sheet:
    """Pictures uint8 [n, 3, S, S], each with its caption beneath, `columns` a row."""
    starts = range(0, len(images), columns)
    rows = [Row(images[i : i + columns], beneath=captions[i : i + columns]) for i in starts]
    return Sheet(rows, title=title, gap=26, row_gap=24)


def progress(epochs: Sequence[int], pictures: Tensor, captions: Sequence[str]) -> Sheet:
    """A row an epoch: pictures uint8 [epochs, c, 3, S, S] under the c captions that they were made for.

    Of more than 12 epochs, 12 are shown, evenly spread, the first and the last always.
    """
    shown = sorted({round(i * (len(epochs) - 1) / (PROGRESS_ROWS - 1)) for i in range(PROGRESS_ROWS)})
    rows = [Row(pictures[i], left=f"epoch {epochs[i]}") for i in shown]
    note = "The captions and the noise stay; the generator learns."
    return Sheet(rows, title="As training went on", note=note, headings=captions, tile=160, gap=16, row_gap=16)


def real_beside_generated(generator: TrainedGenerator, shown: Examples, seed: int) -> Sheet:
    """A row a caption: its own real picture, then pictures generated for it from three noises.

    For a generator of two stages the sketches of the first, as large as the pictures, stand before them.
    """
    embeddings = shown.embeddings.repeat_interleave(DRAWS, dim=0)
    noise = generator.noise(len(embeddings), seed, "real beside generated")
    made = {"generated, from three noises": generator.sample(embeddings, noise)}
    if generator.first is not None:
        sketches = generator.first.sample(embeddings, noise[:, : generator.first.noise_dim])
        factor = shown.images.shape[-1] // sketches.shape[-1]
        made = {
            "first stage, from three noises": sketches.repeat_interleave(factor, -1).repeat_interleave(factor, -2),
            "second stage, from the same": made.popitem()[1],
        }
    by_caption = [pictures.unflatten(0, (len(shown), DRAWS)) for pictures in made.values()]
    rows = [
        Row(torch.cat([real.unsqueeze(0), *drawn]), left=caption)
        for caption, real, *drawn in zip(shown.captions, shown.images, *by_caption, strict=True)
    ]
    headings = ["real", *(text for name in made for text in (name, "", ""))]
    return Sheet(rows, title=shown.title("Real beside generated"), headings=headings, first_apart=True)


def interpolation_captions(generator: TrainedGenerator, shown: Examples, seed: int) -> Sheet:
    """A row a pair of captions (first and second, third and fourth, …): from one to the other under one noise."""
    pairs = [(first, first + 1) for first in range(0, len(shown) - 1, 2)] or [(0, 0)]
    noise = generator.noise(len(pairs), seed, "caption interpolation")
    rows = []
    for (first, second), z in zip(pairs, noise, strict=True):
        between = straight(shown.embeddings[first], shown.embeddings[second], STEPS)
        pictures = generator.sample(between, z.expand(STEPS, -1))
        rows.append(Row(pictures, left=shown.captions[first], right=shown.captions[second]))
    note = "Evenly spaced mixtures of the two captions' embeddings; one noise a row."
    return Sheet(rows, title=shown.title("From one caption to another"), note=note, tile=128)


def interpolation_noise(generator: TrainedGenerator, shown: Examples, seed: int) -> Sheet:
    """A row a caption: from one noise to another, along the arc between them."""
    noise = generator.noise(2 * len(shown), seed, "noise interpolation").unflatten(0, (len(shown), 2))
    rows = []
    for caption, embedding, (start, end) in zip(shown.captions, shown.embeddings, noise, strict=True):
        between = spherical(start, end, STEPS)
        rows.append(Row(generator.sample(embedding.expand(STEPS, -1), between), left=caption))
    note = "The caption stays; the noise turns from one draw to another at equal angles."
    return Sheet(rows, title=shown.title("One caption, from one noise to another"), note=note, tile=128)


def straight(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """`steps` evenly spaced points [steps, D] from `start` [D] to `end` [D], both included."""
    return torch.lerp(start, end, torch.linspace(0, 1, steps, dtype=start.dtype)[:, None])


def spherical(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """The same along the arc between them (Shoemake 1985, "slerp"), at equal angles.

    A normal vector of many dimensions has nearly the length √D; the points of a straight line between two are shorter,
    and unlike any noise that training drew (White 2016, "Sampling Generative Networks"). Two points on one line through
    the origin span no arc: between them the way is straight.
    """
    a, b = start.double(), end.double()
    whole = torch.dot(a / a.norm(), b / b.norm()).clamp(-1, 1).acos()
    if whole.sin() < 1e-6:
        return straight(start, end, steps)
    angles = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None] * whole
    return (((whole - angles).sin() * a + angles.sin() * b) / whole.sin()).to(start.dtype)


def nearest_training(pictures: Tensor, shown: Examples, training: Tensor, rows: int) -> Sheet:
    """The first `rows` generated pictures, each beside the training pictures nearest to it.

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
    title = shown.title("Nearest training pictures")
    return Sheet(strips, title=title, note=note, headings=headings, row_gap=14, tile=128, first_apart=True)


def nearest(queries: Tensor, gallery: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` pictures of `gallery` uint8 [N, 3, S, S] nearest to each of `queries` uint8 [q, 3, S, S].

    Returns (indices int64 [q, count], distances float64 [q, count]), nearest first, the first in the gallery among
    equals. The distance is the root mean square difference of the pixel values (0 to 255) at 64×64.
    """
    wanted = _flat(queries)
    # Pixels are whole numbers and the products' sums stay below 2^53: float64 is exact here.
    mode = "use_mm_for_euclid_dist"
    distances = torch.cat([torch.cdist(wanted, _flat(part), compute_mode=mode) for part in gallery.split(CHUNK)], dim=1)
    ordered, indices = distances.sort(dim=1, stable=True)
    return indices[:, :count], ordered[:, :count] / wanted.shape[1] ** 0.5


def _flat(pictures: Tensor) -> Tensor:
    shrink = max(1, pictures.shape[-1] // COMPARED_SIDE)
    return avg_pool2d(pictures.float(), shrink).round().double().flatten(1)
