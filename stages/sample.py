"""Render what the generator makes of captions, held out where any are, and the loss curves."""

from textbloom import config
from textbloom.core import runtime, trained_folder
from textbloom.core.tensors import load_metadata, load_tensors
from textbloom.dataset.eval_split import load_eval_split
from textbloom.sampling.generator import load_generator
from textbloom.viz import samples
from textbloom.viz.curves import distance_curves, loss_curves


def main(p: config.Params) -> None:
    runtime.portable(p.portable)
    seed, rows, columns = p.seed, p.sample.rows, p.sample.columns
    folder = config.trained(p.evaluate.model)
    generator = load_generator(folder, p.evaluate.generator)
    split = load_eval_split(
        config.PREPARED, split=p.evaluate.split, train_splits=p.train.split_names, seed=seed, size=generator.size
    )

    # Interpolation between captions takes two a row, more than a narrow grid shows.
    shown = samples.choose(split, max(rows * columns, 2 * rows), seed)
    in_grid, in_rows = shown.first(rows * columns), shown.first(rows)
    pictures = generator.sample(in_grid.embeddings, generator.noise(len(in_grid), seed))
    title = f"Generated for captions that training {'saw' if shown.seen else 'never saw'}"
    stored = folder / trained_folder.PROGRESS
    history = load_tensors(stored)["pictures"], load_metadata(stored)
    sheets = {
        "samples": samples.caption_grid(pictures, in_grid.captions, columns, title),
        "real_beside_generated": samples.real_beside_generated(generator, in_rows, seed),
        "interpolation_captions": samples.interpolation_captions(generator, shown.first(2 * rows), seed),
        "interpolation_noise": samples.interpolation_noise(generator, in_rows, seed),
        "nearest_training": samples.nearest_training(pictures, in_grid, split.training_images, rows),
        "progress": samples.progress(history[1]["epochs"], history[0], history[1]["captions"]),
    }
    for name, sheet in sheets.items():
        sheet.save(config.PLOTS / f"{name}.png")
    loss_curves(folder / trained_folder.LOSSES, config.PLOTS / "losses.png")
    distance_curves(config.MEMORISATION, config.PLOTS / "memorisation.png")


if __name__ == "__main__":
    config.run(main)
