"""The console script `textbloom`: parameters from the shell, pictures from sentences."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textbloom import config
from textbloom.core import errors

if TYPE_CHECKING:
    from textbloom.app import comparison


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command; bad input is one line on stderr and exit status 1."""
    parser = argparse.ArgumentParser(prog="textbloom", description="Describe a flower, get its picture.")
    commands = parser.add_subparsers(dest="command", required=True)

    change = commands.add_parser("params", help="check params.yaml, or write a preset and single keys into it")
    change.add_argument("--preset", help="an overlay of presets/, by its name")
    change.add_argument(
        "--set", dest="overrides", nargs="*", default=[], metavar="KEY=VALUE", help="e.g. train.lr=1e-4"
    )
    change.set_defaults(run=_params)

    generate = commands.add_parser("generate", help="pictures of a sentence from the trained generator")
    generate.add_argument("text", nargs="+", help="one sentence, or several, each in quotes")
    generate.add_argument("--out", type=Path, required=True, help="the PNG to write")
    generate.add_argument("--count", type=int, default=4, help="pictures a sentence (default 4)")
    generate.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    generate.set_defaults(run=_generate)

    compare = commands.add_parser("compare", help="trained systems side by side, judged by this project's test data")
    compare.add_argument(
        "systems", nargs="+", metavar="NAME=PROJECT", help="a trained project's folder, and what to call it"
    )
    compare.add_argument("--out", type=Path, required=True, help="folder for comparison.png and comparison.json")
    compare.add_argument("--rows", type=int, default=8, help="captions on the picture (default 8)")
    compare.set_defaults(run=_compare)

    options = parser.parse_args(arguments)
    errors.run(lambda: options.run(options))


def _params(options: argparse.Namespace) -> None:
    if options.preset or options.overrides:
        config.apply(options.preset or None, options.overrides)
    p = config.load()
    # DVC depends on this folder, and would only say that it cannot read it.
    if p.data.dataset == "folder" and not Path(p.data.path).is_dir():
        raise errors.UserError(f"data.path: {p.data.path} is no folder: correct the path to your pictures")


def _generate(options: argparse.Namespace) -> None:
    # Imported here: `textbloom params` must not wait for torch.
    from textbloom.sampling.generator import load_generator
    from textbloom.text import open_encoder
    from textbloom.viz.samples import caption_grid

    if options.count < 1:
        raise errors.UserError(f"--count: expected at least 1, got {options.count}")
    if options.out.suffix.lower() != ".png":
        raise errors.UserError(f"--out: expected a name that ends in .png, got {options.out}")
    blank = [text for text in options.text if not text.strip()]
    if blank:
        raise errors.UserError("text: an empty sentence describes no flower; write one, such as 'a pink flower'")
    p = config.load()
    generator = load_generator(config.trained(p.evaluate.model), p.evaluate.generator)
    e = p.encoder
    encoder = open_encoder(e.name, e.revision, e.path, e.precision, e.source, trained=config.TEXT_ENCODER)
    trained_with = generator.config["encoder"]
    if encoder.metadata["sha256"] != trained_with["sha256"]:
        raise errors.UserError(
            f"encoder.name: the generator was trained with {trained_with['name']} of other weights; set it back in "
            f"{config.PARAMS} or run `make repro`"
        )
    captions = [text for text in options.text for _ in range(options.count)]
    pictures = generator.sample(encoder.encode(captions, p.encoder.batch_size), seed=options.seed)
    caption_grid(pictures, captions, columns=options.count).save(options.out)


def _compare(options: argparse.Namespace) -> None:
    from textbloom.app import comparison
    from textbloom.core.files import write_json
    from textbloom.dataset.eval_split import load_eval_split
    from textbloom.features import extractor as extractors
    from textbloom.metrics import measures
    from textbloom.viz.samples import choose

    if options.rows < 1:
        raise errors.UserError(f"--rows: expected at least 1, got {options.rows}")
    systems = [_system(text) for text in options.systems]
    sizes = {system.name: system.generator.size for system in systems}
    if len(sizes) < len(systems) or len(set(sizes.values())) > 1:
        raise errors.UserError(f"systems: names must differ and picture sizes agree, got {sizes}")
    p = config.load()
    sides = load_eval_split(
        *config.PREPARED,
        split=p.evaluate.split,
        train_splits=p.train.split_names,
        seed=p.seed,
        size=systems[0].generator.size,
    )
    pictures = measures.compared(sides, p.evaluate.samples, p.seed)
    comparison.sheet(systems, choose(sides, options.rows, p.seed), options.out / "comparison.png", p.seed)
    extractor = extractors.load(p.evaluate.extractor, p.evaluate.weights, p.evaluate.layer)
    write_json(
        options.out / "comparison.json",
        {"layer": p.evaluate.layer, "systems": comparison.measure(systems, extractor, pictures, p.seed)},
    )


def _system(text: str) -> "comparison.System":
    from textbloom.app import comparison

    name, equals, folder = text.partition("=")
    project = Path(folder)
    if not (name and equals and (project / config.PARAMS).is_file()):
        raise errors.UserError(f"systems: expected NAME=PROJECT, the folder of a trained project, got '{text}'")
    chosen = config.load(project / config.PARAMS).evaluate
    return comparison.open_system(name, project, chosen.model, chosen.generator)
