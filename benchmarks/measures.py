"""What each measure looks at, as pictures for docs/measures.md, made of what the measures themselves compute.

    PYTHONPATH=src python benchmarks/measures.py docs/measures      # after `make repro`, of its drawn flowers

The generator is the shipped one of drawn flowers; the real pictures are those that it is evaluated with.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Circle, Ellipse
from torch import Tensor
from torch.nn import functional

from textbloom import config
from textbloom.app import compare
from textbloom.core import errors
from textbloom.core.files import replacing
from textbloom.core.seeding import seed_for
from textbloom.features import efficientnet
from textbloom.metrics import diversity, fidelity, memorisation, petal_number, retrieval
from textbloom.metrics.base import Evaluation, mean_of
from textbloom.metrics.colour_accuracy import Palette, ring
from textbloom.sampling.generator import load_generator

GENERATOR = config.SHIPPED / "drawn-textbloom"
REAL, GENERATED, RIGHT, WRONG = "#00796b", "#c2185b", "#2e7d32", "#c62828"
THUMBS = 45  # pictures of a kind in the plane of features
RESAMPLES = 2000


def main() -> None:
    p = config.load()
    evaluator, generator = compare.evaluator_of(p, p.images.size), load_generator(GENERATOR, "ema")

    def make(places: Tensor, draw: int) -> Tensor:
        noise = generator.noise(len(places), seed_for(p.seed, "evaluated pictures", draw))
        return generator.sample(evaluator.embeddings[places], noise)

    evaluation = evaluator.evaluation(make, frozenset())
    for name, draw in FIGURES.items():
        with replacing(Path(sys.argv[1]) / f"{name}.jpg") as temporary:
            draw(evaluation).savefig(temporary, format="jpg", dpi=100, pil_kwargs={"quality": 85})


def captions_of(e: Evaluation) -> list[str]:
    return [e.real.split.pictures.first_captions[row] for row in e.real.rows.tolist()]


def colours_of(e: Evaluation) -> tuple[Palette, pd.DataFrame]:
    """The palette, and of each compared picture the attributes that it was drawn by."""
    assert e.real.attributes is not None
    table = pd.read_csv(e.real.attributes / "attributes.csv", index_col="image_id")
    return Palette.read(e.real.attributes / "palette.json"), table.loc[e.real.image_ids]


def show(cell: Axes, picture: Tensor, title: str = "", frame: str = "white", colour: str = "black") -> None:
    """A picture uint8 [3, S, S] in a frame."""
    cell.imshow(picture.permute(1, 2, 0))
    cell.set_xticks([])
    cell.set_yticks([])
    for spine in cell.spines.values():
        spine.set(color=frame, linewidth=3)
    cell.set_title(title, fontsize=8, color=colour)


def distance(e: Evaluation) -> Figure:
    """Both kinds of pictures where their features lie, in the plane in which these vary most."""
    real, fake = e.real.compared.features, e.features.features
    held_back = torch.ones(len(e.real.features.features), dtype=torch.bool)
    held_back[e.real.rows] = False
    others, of_others = e.real.features.features[held_back], e.real.split.pictures.images.all()[held_back]
    both = torch.cat([real, fake])
    _, _, directions = torch.pca_lowrank(both, q=2, niter=8)
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    floor = fidelity.floor(e.real.features.features, len(real), e.real.seed)
    value = fidelity.frechet_distance(fake, real)
    cells = figure.subplots(1, 2, sharex=True, sharey=True)
    sides = (
        (others, of_others, "#4db6ac", f"other real flowers: Fréchet distance {floor:.0f}, the floor"),
        (fake, e.generated, GENERATED, f"generated flowers: Fréchet distance {value:.0f}"),
    )
    for cell, (features, pictures, colour, title) in zip(cells, sides, strict=True):
        for points, images, of in (
            ((real - both.mean(0)) @ directions, e.real.images, REAL),
            ((features - both.mean(0)) @ directions, pictures, colour),
        ):
            for point, image in zip(points[:THUMBS].tolist(), images, strict=False):
                cell.add_artist(
                    AnnotationBbox(
                        OffsetImage(image.permute(1, 2, 0).numpy(), zoom=0.27),
                        point,
                        pad=0.12,
                        bboxprops={"edgecolor": of, "linewidth": 1.4, "boxstyle": "square"},
                    )
                )
            cell.scatter(*points[:THUMBS].T, alpha=0)  # so that the axes hold the pictures
            lengths, axes = torch.linalg.eigh(torch.cov(points.T))
            angle = float(torch.rad2deg(torch.atan2(axes[1, 1], axes[0, 1])))
            width, height = (4 * lengths.flip(0).sqrt()).tolist()
            shape = {"xy": points.mean(0).tolist(), "width": width, "height": height, "angle": angle}
            cell.add_patch(Ellipse(**shape, fill=True, alpha=0.12, color=of, zorder=0))
            cell.add_patch(Ellipse(**shape, fill=False, color=of, linewidth=2, zorder=9))
        cell.set_title(title, fontsize=10, color=colour)
        cell.set_xticks([])
        cell.set_yticks([])
        cell.margins(0.08)
    return figure


def neighbourhoods(e: Evaluation) -> Figure:
    """Whose ball of a nearest neighbour a picture falls into, for precision and for recall."""
    real, fake = e.real.compared.features.double(), e.features.features.double()
    figure = Figure(figsize=(9, 4.9), layout="constrained")
    precision, recall = fidelity.precision_recall(fake.float(), real.float())
    questions = (
        (f"precision {precision:.2f}: is the generated one within a real one's reach?", fake, real, GENERATED, REAL),
        (f"recall {recall:.2f}: is the real one within a generated one's reach?", real, fake, REAL, GENERATED),
    )
    images = {GENERATED: e.generated, REAL: e.real.images}
    for half, (question, asked, centres, of_asked, of_centres) in zip(
        figure.subfigures(1, 2, wspace=0.04), questions, strict=True
    ):
        among = torch.cdist(centres, centres).fill_diagonal_(torch.inf)
        reach, third = (each[:, -1] for each in among.topk(fidelity.NEIGHBOURHOOD, largest=False))
        away = torch.cdist(asked, centres)
        closest, centre = (away / reach).min(1)
        order = closest.argsort()
        rows = order[torch.linspace(0, len(order) - 1, 4).long()].tolist()
        half.suptitle(question, fontsize=9)
        cells = half.subplots(len(rows), 4, width_ratios=(1, 1, 1, 1.9))
        for (one, other, neighbour, bars), row in zip(cells, rows, strict=True):
            middle = int(centre[row])
            found = bool(closest[row] <= 1)
            show(one, images[of_asked][row], frame=of_asked)
            show(other, images[of_centres][middle], frame=of_centres)
            show(neighbour, images[of_centres][int(third[middle])], frame=of_centres)
            lengths = [float(away[row, middle]), float(reach[middle])]
            bars.barh([1, 0], lengths, color=[of_asked, of_centres], height=0.6)
            bars.set_yticks([1, 0], ["1 to 2", "2 to 3:\nits reach"], fontsize=7)
            bars.set_xlim(0, 1.1 * float(max(away[torch.tensor(rows), centre[rows]].max(), reach[centre[rows]].max())))
            bars.set_xticks([])
            bars.spines[["top", "right", "bottom"]].set_visible(False)
            bars.set_title("within" if found else "too far", fontsize=8, color=RIGHT if found else WRONG)
        for cell, title in zip(
            cells[0], ("1 asked\nabout", "2 reaches\nnearest", "3 third\nnearest to 2"), strict=False
        ):
            cell.set_title(title, fontsize=8)
    return figure


def ranks(e: Evaluation) -> Figure:
    """The captions that the probe finds to fit a generated picture best, and where its own one comes."""
    real = e.real
    probe = retrieval.fit_probe(real.other_features.features, real.other_texts, real.seed)
    texts = real.split.pictures.first_captions
    captions, row_of = retrieval.choices(probe, texts, real.texts)
    different = [texts[int((row_of == number).nonzero()[0])] for number in range(len(captions))]
    fits = probe.pictures(e.features.features) @ captions.T
    figure = Figure(figsize=(9, 5), layout="constrained")
    stream = torch.Generator().manual_seed(real.seed)
    lists = []
    for picture, row in enumerate(real.rows.tolist()):
        own = int(row_of[row])
        others = torch.randperm(len(different), generator=stream).tolist()
        among = [own, *[number for number in others if number != own]][: retrieval.CANDIDATES]
        best = sorted(among, key=lambda number: -float(fits[picture, number]))
        lists.append((best.index(own) + 1, picture, own, best))
    chosen = [next(found for found in lists if low <= found[0] <= high) for low, high in ((1, 1), (4, 6), (30, 100))]
    for (cell, listed), (rank, picture, own, best) in zip(
        figure.subplots(len(chosen), 2, width_ratios=(1, 4)), chosen, strict=True
    ):
        show(cell, e.generated[picture], frame=GENERATED)
        listed.axis("off")
        listed.set_title(f"its own caption comes {rank} of {retrieval.CANDIDATES}", loc="left", fontsize=9)
        shown = best[:6] if rank <= 6 else [*best[:4], None, own]
        for line, number in enumerate(shown):
            if number is None:
                listed.text(0, 0.9 - line * 0.165, "⋮", fontsize=8.5, va="top")
                continue
            mine = number == own
            listed.text(
                0,
                0.9 - line * 0.165,
                f"{best.index(number) + 1:3d}  {different[number]}",
                fontsize=8.5,
                va="top",
                color=RIGHT if mine and rank <= 10 else WRONG if mine else "#757575",
                weight="bold" if mine else "normal",
            )
    return figure


def variety(e: Evaluation) -> Figure:
    """The pictures of one caption, generated and real, and where two of them differ."""
    pictures = torch.cat([e.real.split.pictures.images.all(), e.real.split.others.images.all()])
    features = torch.cat([e.real.features.features, e.real.other_features.features])
    generated, natural = diversity.spread(e.draws), diversity.spread(features[e.alike])
    middle = (generated / natural).argsort()[len(generated) // 2]
    caption = captions_of(e)[int(e.drawn_again[middle])]
    figure = Figure(figsize=(9, 4.3), layout="constrained")
    figure.suptitle(f"“{caption}”", fontsize=10)
    kinds = (
        (f"generated: {generated[middle]:.1f} apart", e.drawn[middle], GENERATED),
        (f"real, of the nearest captions: {natural[middle]:.1f} apart", pictures[e.alike[middle]], REAL),
    )
    cells = figure.subplots(2, diversity.DRAWS + 1)
    maps = [differences(images[0], images[1]) for _, images, _ in kinds]
    for row, (title, images, colour), places in zip(cells, kinds, maps, strict=True):
        for cell, image in zip(row, images, strict=False):
            show(cell, image, frame=colour)
        row[0].set_title(title, fontsize=9, color=colour, loc="left")
        row[-1].imshow(places, cmap="magma", vmin=0, vmax=float(max(each.max() for each in maps)))
        row[-1].set_title("where the first\ntwo differ", fontsize=9)
        row[-1].axis("off")
    return figure


@torch.inference_mode()
def differences(one: Tensor, other: Tensor) -> Tensor:
    """The squared distance of `diversity.perceptual_vectors` by place, before the mean over places, [S, S].

    Of two pictures uint8 [3, S, S].
    """
    network = efficientnet.scales(diversity.NETWORK)[0]
    total = torch.zeros(1, 1, *one.shape[1:])
    for maps in network(efficientnet.prepare(torch.stack([one, other]), 128)):
        unit = functional.normalize(maps, dim=1)
        apart = (unit[0] - unit[1]).square().sum(0)[None, None]
        total += functional.interpolate(apart, size=one.shape[1:], mode="bilinear")
    return total[0, 0]


def copies(e: Evaluation) -> Figure:
    """Pictures beside the training picture nearest to each, and how far off those are."""
    training, images = e.real.other_features.features.double(), e.real.split.others.images
    fake, real = memorisation.distances(e)
    limit = real.quantile(memorisation.RARELY)
    figure = Figure(figsize=(9, 4.1), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    pairs = above.subfigures(1, 4, wspace=0.05)
    for place, (features, pictures, away, colour, name) in enumerate(
        (
            (e.features.features, e.generated, fake, GENERATED, "generated"),
            (e.real.compared.features, e.real.images, real, REAL, "real, new"),
        )
    ):
        order = away.argsort()
        for turn, (row, what) in enumerate(((order[0], "nearest of all"), (order[len(order) // 2], "in the middle"))):
            nearest = int(torch.cdist(features[row][None].double(), training).argmin())
            left, right = pairs[2 * place + turn].subplots(1, 2)
            show(left, pictures[row], f"{name}\n{what}", frame=colour, colour=colour)
            show(right, images[[nearest]][0], f"training\n{away[row]:.1f} away", frame="#757575")
    cell = below.subplots()
    bins = torch.linspace(float(min(fake.min(), real.min())), float(max(fake.max(), real.max())), 40).tolist()
    for away, colour, name in ((real, REAL, "real, new"), (fake, GENERATED, "generated")):
        cell.hist(away, bins, color=colour, alpha=0.55, label=name)
    cell.axvspan(bins[0], float(limit), color="#757575", alpha=0.15)
    cell.axvline(float(limit), color="black", linewidth=1)
    share = float((fake < limit).float().mean())
    cell.set_title(f"nearer than 95% of the real new ones (grey): {share:.3f} of the generated", fontsize=9)
    cell.set_xlabel("distance to the nearest training picture", fontsize=8)
    cell.set_yticks([])
    cell.legend(fontsize=8, frameon=False)
    return figure


def colours(e: Evaluation) -> Figure:
    """Which pixels vote for which colour."""
    palette, named = colours_of(e)
    ramps = {"petal": palette.petal, "centre": palette.centre}
    captions = captions_of(e)
    side = e.generated.shape[-1]
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    for line, picture in zip(figure.subfigures(3, 1), (5, 41, 77), strict=True):
        line.suptitle(f"“{captions[picture]}”", fontsize=9)
        image = e.generated[picture]
        cells = line.subplots(1, 5, width_ratios=(1, 1, 1.5, 1, 1.5))
        show(cells[0], image, frame=GENERATED)
        for place, (part, of_part) in enumerate(ramps.items()):
            inside = torch.from_numpy(ring(side, part))
            votes = torch.from_numpy(palette.votes(image.numpy(), part))
            faint = image.float().mean(0, keepdim=True) * 0.25 + 190
            shown = faint.expand(3, -1, -1).clone()
            shown[:, inside] = faint[:, inside] + (image[:, inside] - faint[:, inside]) * votes.sum(1).float()
            show(cells[1 + 2 * place], shown.byte(), f"{part}: who votes")
            bars, total = cells[2 + 2 * place], votes.sum(0)
            best = total.argsort(descending=True)[:3].tolist()
            names = list(of_part)
            bars.barh(
                range(3, 0, -1),
                [float(total[n] / total.sum()) for n in best],
                color=[tuple(of_part[names[n]][1] / 255) for n in best],
                edgecolor="#424242",
            )
            bars.set_yticks(range(3, 0, -1), [names[n] for n in best], fontsize=8)
            bars.set_xlim(0, 1)
            bars.set_xticks([])
            wanted = named[f"{part}_colour"].iloc[picture]
            bars.set_title(f"named: {wanted}", fontsize=9, color=RIGHT if names[best[0]] == wanted else WRONG)
            bars.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


def petals(e: Evaluation) -> Figure:
    """The circles along which petals are counted, what lies on them, and how often it repeats."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2, 1.1))
    numbers = {REAL: petal_number.counted(e.real.images), GENERATED: petal_number.counted(e.generated)}
    images = {REAL: e.real.images, GENERATED: e.generated}
    frequencies = range(1, petal_number.MOST + 1)
    rows = ((REAL, int((numbers[REAL] == 6).nonzero()[0])), (GENERATED, 5))
    for (picture, strip, bars), (kind, row) in zip(above.subplots(2, 3, width_ratios=(1, 3.2, 3)), rows, strict=True):
        image = images[kind][row]
        show(picture, image, frame=kind)
        middle, radii = (image.shape[-1] - 1) / 2, petal_number.RADII * image.shape[-1] / 2
        for radius in (radii[0], radii[-1]):
            picture.add_patch(Circle((middle, middle), float(radius), fill=False, color="white", linewidth=1.2))
        along = petal_number.around(image[None])
        strip.imshow(along[0].permute(1, 2, 0).flip(0).byte(), aspect="auto", extent=(0, 360, 0, 1))
        strip.set_yticks([0, 1], ["inner circle", "outer circle"], fontsize=7)
        strip.set_xticks([0, 90, 180, 270, 360], ["0°", "90°", "180°", "270°", "360°"], fontsize=7)
        power, number = petal_number.powers(along)[0], int(numbers[kind][row])
        greys = ["#eeeeee" if n < petal_number.FEWEST else "#bdbdbd" if n != number else kind for n in frequencies]
        bars.bar(frequencies, power[1 : petal_number.MOST + 1], color=greys)
        bars.set_yticks([])
        bars.set_xticks([number], [f"{number} petals"], fontsize=9, color=kind)
        bars.spines[["top", "right", "left"]].set_visible(False)
        bars.set_title("how much of it repeats 1, 2, 3, … times; from 4 on it counts", fontsize=8)
    cell = below.subplots()
    for shift, (kind, name) in ((-0.2, (REAL, "real")), (0.2, (GENERATED, "generated"))):
        shares = numbers[kind].bincount(minlength=petal_number.MOST + 1) / len(numbers[kind])
        cell.bar(torch.arange(len(shares)) + shift, shares, width=0.4, color=kind, label=name)
    cell.set_xlim(petal_number.FEWEST - 1, petal_number.MOST + 1)
    cell.set_xticks(range(petal_number.FEWEST, petal_number.MOST + 1))
    cell.tick_params(labelsize=7)
    cell.set_title("share of the flowers with so many petals", fontsize=9)
    cell.legend(fontsize=8, frameon=False)
    return figure


def resampled(e: Evaluation) -> Figure:
    """How far a share moves when other pictures might have been drawn, for few pictures and for many."""
    palette, named = colours_of(e)
    shown = palette.measured(e.generated, "petal")
    hits = torch.tensor([a == b for a, b in zip(shown, named["petal_colour"], strict=True)])
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
    left.suptitle("petal colour as the caption says, or not", fontsize=9)
    for cell, image, hit in zip(left.subplots(5, 8).flat, e.generated, hits.tolist(), strict=False):
        show(cell, image, frame=RIGHT if hit else WRONG)
    stream = torch.Generator().manual_seed(e.real.seed)
    for cell, count in zip(right.subplots(2, 1, sharex=True), (30, len(hits)), strict=True):
        some = hits[:count].double()
        means = torch.stack([some[torch.randint(count, (count,), generator=stream)].mean() for _ in range(RESAMPLES)])
        low, high = mean_of(some).interval(e.real.seed)
        cell.hist(means, torch.linspace(0.6, 1, 61).tolist(), color=GENERATED, alpha=0.7)
        cell.axvspan(low, high, color="#757575", alpha=0.18)
        title = f"{count} pictures drawn again and again: {some.mean():.2f}, 95% interval {low:.2f} to {high:.2f}"
        cell.set_title(title, fontsize=9)
        cell.set_yticks([])
        cell.spines[["top", "right", "left"]].set_visible(False)
    return figure


FIGURES: dict[str, Callable[[Evaluation], Figure]] = {
    "distance": distance,
    "neighbourhoods": neighbourhoods,
    "retrieval": ranks,
    "diversity": variety,
    "memorisation": copies,
    "colours": colours,
    "petals": petals,
    "intervals": resampled,
}

if __name__ == "__main__":
    errors.run(main)
