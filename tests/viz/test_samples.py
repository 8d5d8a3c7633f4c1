"""What the sheets show: interpolations, neighbours, the choice of captions."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textbloom.dataset.eval_split import EvalSplit
from textbloom.dataset.prepared import Pictures, Prepared
from textbloom.sampling.generator import TrainedGenerator
from textbloom.viz import samples
from textbloom.viz.samples import Examples, choose, nearest, spherical, straight
from textbloom.viz.sheet import Sheet


@pytest.mark.parametrize("between", [straight, spherical])
def test_an_interpolation_starts_and_ends_exactly_at_its_ends(between: Any) -> None:
    start, end = torch.randn(2, 100)
    points = between(start, end, 8)
    assert points.shape == (8, 100)
    assert torch.equal(points[0], start)
    assert torch.equal(points[-1], end)


def test_a_quarter_turn_has_sines_and_cosines_for_its_points() -> None:
    points = spherical(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 7)
    angles = torch.linspace(0, math.pi / 2, 7)
    torch.testing.assert_close(points, torch.stack([angles.cos(), angles.sin()], dim=1))


def test_an_arc_keeps_the_length_and_turns_by_equal_angles_where_a_straight_line_shortens() -> None:
    ends = torch.nn.functional.normalize(torch.randn(2, 50, dtype=torch.float64), dim=1)
    arc = spherical(ends[0], ends[1], 9)
    torch.testing.assert_close(arc.norm(dim=1), torch.ones(9, dtype=torch.float64))
    turns = (arc[:-1] * arc[1:]).sum(1)
    torch.testing.assert_close(turns, turns[:1].expand(8))
    assert straight(ends[0], ends[1], 9)[4].norm() < 0.9


def test_the_arc_back_is_the_arc_there_reversed() -> None:
    start, end = torch.randn(2, 30, dtype=torch.float64)
    torch.testing.assert_close(spherical(start, end, 6), spherical(end, start, 6).flip(0))


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, -3.0])
def test_between_points_on_one_line_through_the_origin_the_way_is_straight(factor: float) -> None:
    start = torch.randn(1 if factor < 0 else 40)
    torch.testing.assert_close(spherical(start, factor * start, 5), straight(start, factor * start, 5))


def pictures(count: int, size: int = 64) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize("size", [64, 128])
def test_a_training_picture_is_its_own_nearest_neighbour_at_distance_zero(size: int) -> None:
    gallery = pictures(9, size)
    indices, distances = nearest(gallery, gallery, 1)
    assert indices.flatten().tolist() == list(range(9))
    assert distances.count_nonzero() == 0


def test_neighbours_equal_those_of_a_direct_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textbloom.viz.samples.CHUNK", 7)
    queries, gallery = pictures(4), pictures(20)
    indices, distances = nearest(queries, gallery, 20)

    differences = queries.numpy().astype(np.int64)[:, None] - gallery.numpy().astype(np.int64)[None]
    direct = np.sqrt((differences**2).mean(axis=(2, 3, 4)))
    assert np.array_equal(indices.numpy(), np.argsort(direct, axis=1, kind="stable"))
    np.testing.assert_allclose(distances.numpy(), np.sort(direct, axis=1), rtol=1e-12)


def test_of_equal_neighbours_the_first_in_the_gallery_comes_first() -> None:
    gallery = pictures(3)[[0, 1, 2, 1, 1]]
    assert nearest(gallery[1:2], gallery, 3)[0].tolist() == [[1, 3, 4]]


def test_the_distance_is_in_grey_levels_and_pictures_of_128_are_averaged_first() -> None:
    flat = torch.full((1, 3, 128, 128), 100, dtype=torch.uint8)
    assert nearest(flat, flat + 7, 1)[1].item() == 7.0
    checked = flat.clone()
    checked[..., ::2, ::2] += 40
    assert nearest(flat, checked, 1)[1].item() == pytest.approx(10), "one pixel in four is 40 brighter"


def held_out(classes: list[int], captions: list[str]) -> EvalSplit:
    """One picture a caption, filled with its number, and its number as the embedding."""
    count = len(classes)
    numbers = torch.arange(count)
    pictures = Prepared(
        images=Pictures(numbers.to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)),
        image_ids=np.arange(count),
        class_ids=np.array(classes),
        captions=[[caption, "a second caption"] for caption in captions],
        embeddings=torch.stack([numbers.float(), torch.full((count,), -1.0)], dim=1).reshape(-1, 1),
        first_row=2 * numbers,
    )
    return EvalSplit("test", pictures, pictures, seen=False)


def test_shown_captions_are_of_as_many_classes_as_there_are() -> None:
    classes = [1] * 30 + [2] * 3 + [3] * 3
    data = held_out(classes, [f"caption {number}" for number in range(36)])
    for count, most in [(3, 1), (6, 2), (9, 3), (12, 6)]:
        chosen = [classes[int(number)] for number in choose(data, count, seed=5).embeddings]
        assert max(chosen.count(class_id) for class_id in (1, 2, 3)) == most
        assert len(chosen) == count


def test_shown_captions_differ_and_keep_their_own_picture_and_embedding() -> None:
    captions = [f"caption {number // 2}" for number in range(20)]
    shown = choose(held_out(list(range(20)), captions), 50, seed=3)
    assert len(shown) == 10
    assert len(set(shown.captions)) == 10
    for caption, embedding, image in zip(shown.captions, shown.embeddings, shown.images, strict=True):
        number = int(embedding)
        assert caption == captions[number]
        assert bool((image == number).all())


def test_the_choice_of_captions_follows_the_seed_alone() -> None:
    data = held_out([1] * 40, [f"caption {number}" for number in range(40)])
    assert choose(data, 10, seed=1).captions == choose(data, 10, seed=1).captions
    assert choose(data, 10, seed=1).captions != choose(data, 10, seed=2).captions
    assert choose(data, 10, seed=1).captions == choose(data, 20, seed=1).captions[:10]


class Recorder:
    """Stands in for a trained generator: keeps what it was asked for, answers with numbered pictures."""

    noise_dim = 12
    noise = TrainedGenerator.noise
    first: "Recorder | None" = None

    def __init__(self, side: int = 8) -> None:
        self.side = side
        self.calls: list[tuple[Tensor, Tensor]] = []
        self.made = 0

    def sample(self, embeddings: Tensor, noise: Tensor) -> Tensor:
        assert noise.shape == (len(embeddings), self.noise_dim)
        self.calls.append((embeddings, noise))
        numbers = torch.arange(self.made, self.made + len(embeddings), dtype=torch.uint8)
        self.made += len(embeddings)
        return numbers[:, None, None, None].expand(-1, 3, self.side, self.side)


def recorder(side: int = 8) -> Any:
    return Recorder(side)


def examples(count: int) -> Examples:
    return Examples(
        [f"caption {number}" for number in range(count)],
        torch.randn(count, 5),
        torch.arange(200, 200 + count).to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8),
    )


def numbers(row: Tensor) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in row]


def test_a_row_between_two_captions_has_one_noise_and_the_captions_at_its_ends() -> None:
    generator, shown = recorder(), examples(4)
    sheet = samples.interpolation_captions(generator, shown, seed=1)

    assert [(row.left, row.right) for row in sheet.rows] == [("caption 0", "caption 1"), ("caption 2", "caption 3")]
    for (embeddings, noise), first in zip(generator.calls, (0, 2), strict=True):
        assert torch.equal(embeddings[0], shown.embeddings[first])
        assert torch.equal(embeddings[-1], shown.embeddings[first + 1])
        assert noise is not None and torch.equal(noise, noise[:1].expand_as(noise))
    assert not torch.equal(generator.calls[0][1], generator.calls[1][1])


def test_a_row_between_two_noises_has_one_caption() -> None:
    generator, shown = recorder(), examples(3)
    sheet = samples.interpolation_noise(generator, shown, seed=1)

    assert [row.left for row in sheet.rows] == shown.captions
    for (embeddings, noise), embedding in zip(generator.calls, shown.embeddings, strict=True):
        assert torch.equal(embeddings, embedding.expand_as(embeddings))
        assert noise is not None and len(noise.unique(dim=0)) == len(noise) == 8


def test_beside_each_real_picture_stand_three_of_its_own_caption_from_different_noise() -> None:
    generator, shown = recorder(), examples(3)
    sheet = samples.real_beside_generated(generator, shown, seed=1)

    [(embeddings, noise)] = generator.calls
    assert noise is not None and len(noise.unique(dim=0)) == 9
    for number, row in enumerate(sheet.rows):
        assert row.left == shown.captions[number]
        real, *generated = numbers(row.pictures)
        assert real == 200 + number
        assert len(generated) == 3
        assert all(torch.equal(embeddings[made], shown.embeddings[number]) for made in generated)


def test_a_generator_of_two_stages_shows_its_sketches_as_large_from_the_noise_they_share() -> None:
    shown = Examples(["one", "two"], torch.randn(2, 5), pictures(2)[..., :16, :16])
    generator, sketcher = recorder(side=16), recorder()
    sketcher.noise_dim = 7
    generator.first = sketcher
    sheet = samples.real_beside_generated(generator, shown, seed=1)

    [(_, noise)], [(_, below)] = generator.calls, sketcher.calls
    assert noise is not None and below is not None and torch.equal(below, noise[:, :7])
    assert sheet.headings[1::3] == ["first stage, from three noises", "second stage, from the same"]
    for number, row in enumerate(sheet.rows):
        assert row.pictures.shape == (7, 3, 16, 16)
        assert numbers(row.pictures)[1:] == [3 * number + draw for draw in range(3)] * 2


def test_a_copy_of_a_training_picture_is_shown_beside_its_original_at_zero() -> None:
    training = pictures(10)
    shown = Examples(["one", "two", "three"], torch.randn(3, 5), pictures(3))
    copies = training[[7, 2, 4]]
    sheet = samples.nearest_training(copies, shown, training, rows=2)

    assert [row.left for row in sheet.rows] == ["one", "two"]
    for row, original in zip(sheet.rows, (7, 2), strict=True):
        assert row.pictures.shape[0] == 5
        assert torch.equal(row.pictures[0], row.pictures[1])
        assert torch.equal(row.pictures[1], training[original])
        assert row.beneath[1] == "0"
        distances = [int(text) for text in row.beneath[1:]]
        assert distances == sorted(distances)
        assert distances[1] > 50, "unrelated noise pictures are far apart"
    assert "generated pictures 0, real held-out pictures" in sheet.note


def every(shown: Examples) -> list[Sheet]:
    generator = recorder()
    made = generator.sample(shown.embeddings, generator.noise(len(shown), 1))
    return [
        samples.real_beside_generated(generator, shown, seed=1),
        samples.interpolation_captions(generator, shown, seed=1),
        samples.interpolation_noise(generator, shown, seed=1),
        samples.nearest_training(made, shown, shown.images, rows=2),
    ]


@pytest.mark.parametrize("seen", [True, False])
def test_every_sheet_says_in_its_title_whether_training_saw_the_captions(seen: bool) -> None:
    sheets = every(dataclasses.replace(examples(4), seen=seen))
    assert {sheet.title.endswith("(captions seen in training)") for sheet in sheets} == {seen}


def test_a_real_picture_that_training_saw_is_not_compared_with_itself() -> None:
    training = torch.tensor([10, 17, 60]).to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    shown = Examples(["one"], torch.randn(1, 5), training[:1], seen=True)
    sheet = samples.nearest_training(training[:1], shown, training, rows=1)
    assert "generated pictures 0, real ones, to the nearest other, 7." in sheet.note


def test_one_caption_and_few_training_pictures_are_enough_for_every_sheet(tmp_path: Path) -> None:
    for sheet in every(examples(1)):
        sheet.save(tmp_path / "sheet.png")


def test_pictures_stand_in_reading_order_each_over_its_caption() -> None:
    shown = examples(5)
    rows = samples.caption_grid(shown.images, shown.captions, columns=3).rows
    assert [numbers(row.pictures) for row in rows] == [[200, 201, 202], [203, 204]]
    assert [row.beneath for row in rows] == [shown.captions[:3], shown.captions[3:]]


def test_a_progress_sheet_of_many_epochs_shows_twelve_with_the_first_and_the_last() -> None:
    drawn = torch.arange(100).to(torch.uint8)[:, None, None, None, None].expand(-1, 2, 3, 8, 8)
    sheet = samples.progress(range(1, 101), drawn, ["one", "two"])
    shown = [int(row.left.removeprefix("epoch ")) for row in sheet.rows]
    assert [numbers(row.pictures) for row in sheet.rows] == [[epoch - 1] * 2 for epoch in shown]
    assert (len(shown), shown[0], shown[-1]) == (12, 1, 100)
    steps = np.diff(shown)
    assert steps.max() - steps.min() <= 1
    assert len(samples.progress([1, 2], drawn[:2], ["one", "two"]).rows) == 2
