"""Render what the generator makes of captions, held out where any are, and the loss curves."""

from textbloom import config
from textbloom.core import errors, paths, runtime
from textbloom.core.tensors import load_metadata, load_tensors
from textbloom.dataset.eval_split import load_eval_split
from textbloom.sampling.generator import load_generator
from textbloom.viz import showcase
from textbloom.viz.curves import loss_curves
from textbloom.viz.examples import choose
from textbloom.viz.grids import progress_sheet


def main() -> None:
    p = config.load()
    runtime.portable(p.portable)
    seed, rows, columns = p.seed, p.sample.rows, p.sample.columns
    folder = config.trained(p.evaluate.model)
    generator = load_generator(folder, p.evaluate.generator)
    sides = load_eval_split(
        *config.PREPARED, split=p.evaluate.split, train_splits=p.train.split_names, seed=p.seed, size=generator.size
    )

    # Interpolation between captions takes two a row, more than a narrow grid shows.
    shown = choose(sides, max(rows * columns, 2 * rows), seed)
    in_grid, in_rows = shown.first(rows * columns), shown.first(rows)
    pictures = showcase.samples(generator, in_grid, config.PLOTS / "samples.png", columns, seed)
    showcase.real_beside_generated(generator, in_rows, config.PLOTS / "real_beside_generated.png", seed)
    showcase.interpolation_captions(generator, shown.first(2 * rows), config.PLOTS / "interpolation_captions.png", seed)
    showcase.interpolation_noise(generator, in_rows, config.PLOTS / "interpolation_noise.png", seed)
    showcase.nearest_training(pictures, in_grid, sides.training_images, config.PLOTS / "nearest_training.png", rows)
    progress, notes = load_tensors(folder / paths.PROGRESS)["pictures"], load_metadata(folder / paths.PROGRESS)
    progress_sheet(list(zip(notes["epochs"], progress, strict=True)), notes["captions"], config.PROGRESS_SHEET)
    loss_curves(folder / paths.HISTORY, config.PLOTS / "losses.png")


if __name__ == "__main__":
    errors.run(main)
