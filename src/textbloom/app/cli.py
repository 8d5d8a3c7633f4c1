"""The console script `textbloom`: parameters from the shell, pictures from sentences."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textbloom import config
from textbloom.app import pipeline
from textbloom.core import errors
from textbloom.core.files import read_text

if TYPE_CHECKING:
    from textbloom.app import compare


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

    presets = commands.add_parser("presets", help="the presets that `make repro PRESET=…` knows, and what each is")
    presets.set_defaults(run=_presets)

    doctor = commands.add_parser("doctor", help="what is installed, trained and missing here, and the mend")
    doctor.set_defaults(run=_doctor)

    generate = commands.add_parser(
        "generate",
        help="pictures of sentences from a trained generator",
        description="Pictures of sentences from a trained generator. Each file says in its text chunks what it shows, "
        "and by which model and seed.",
        epilog="example: textbloom generate 'a pink flower' 'a white flower with a yellow centre' --out flowers.png",
    )
    generate.add_argument("text", nargs="*", help="one sentence, or several, each in quotes")
    generate.add_argument("--file", help="a text file of sentences, one a line; - for standard input")
    generate.add_argument(
        "--out", type=Path, required=True, help="a PNG for one sheet with captions, or a folder for single pictures"
    )
    generate.add_argument("--count", type=int, default=4, help="pictures a sentence (default 4)")
    generate.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    generate.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if any")
    generate.add_argument(
        "--model",
        help=f"the name of a folder in {config.SHIPPED}/ or of a DVC experiment, or a trained folder; by default what "
        "this project has trained, and the shipped flowers as long as it has trained nothing",
    )
    generate.set_defaults(run=_generate)

    taken = commands.add_parser("export", help="a generator to take away: safetensors, ONNX, a card and an example")
    taken.add_argument("folder", type=Path, help="where to; a folder of that name is replaced")
    taken.add_argument("--model", help="as for generate")
    taken.set_defaults(run=_export)

    comparison = commands.add_parser("compare", help="trained systems side by side, by this project's held-out data")
    comparison.add_argument(
        "systems",
        nargs="+",
        metavar="NAME=PROJECT",
        help="a trained project's folder, or one in its models/, and what to call it; folders of one name are seeds of "
        "one system; smaller pictures are enlarged to the size of the largest",
    )
    comparison.add_argument("--out", type=Path, required=True, help="folder for comparison.png and comparison.json")
    comparison.add_argument("--rows", type=int, default=8, help="captions on the picture (default 8)")
    comparison.set_defaults(run=_compare)

    options = parser.parse_args(arguments)
    errors.run(lambda: options.run(options))


def _params(options: argparse.Namespace) -> None:
    with pipeline.settings():
        pipeline.write(options.preset, options.overrides)


def _presets(options: argparse.Namespace) -> None:
    names = config.presets()
    for name in names:
        text = read_text(config.PRESETS / f"{name}.yaml", "save it as UTF-8")
        first, *_ = text.splitlines() or [""]
        print(f"{name:{max(map(len, names))}}  {first.removeprefix('#').strip()}")


def _doctor(options: argparse.Namespace) -> None:
    from textbloom.app import doctor

    if not doctor.report():
        raise errors.UserError("see to what is marked ✗ above")


def _generate(options: argparse.Namespace) -> None:
    if options.count < 1:
        raise errors.UserError(f"--count: expected at least 1, got {options.count}")
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # Imported here, so that `textbloom params` does not wait for torch, and torch sees the device.
    from textbloom.app.generate import generate, sentences
    from textbloom.core import runtime

    if options.device == "cuda" and runtime.device().type != "cuda":
        raise errors.UserError("--device: there is no CUDA device here; leave it out")
    texts = sentences(options.text, options.file)
    generate(texts, options.out, options.count, options.seed, options.model)


def _export(options: argparse.Namespace) -> None:
    from textbloom.app import export, models

    if options.folder.is_dir() and not (options.folder / export.ONNX).is_file():
        raise errors.UserError(f"{options.folder} holds something else: name a folder that is not there yet")
    export.export(options.model or models.names()[0], options.folder)


def _compare(options: argparse.Namespace) -> None:
    from textbloom.app import compare
    from textbloom.core.files import write_json
    from textbloom.viz.samples import choose

    if options.rows < 1:
        raise errors.UserError(f"--rows: expected at least 1, got {options.rows}")
    systems = [_system(text) for text in options.systems]
    p, side = config.load(), compare.side(systems)
    if side > p.images.size:
        raise errors.UserError(
            f"systems: real pictures have {p.images.size} pixels here and some generated ones {side}: run this in the "
            "project of the largest pictures"
        )
    evaluator = compare.evaluator_of(p, side)
    compare.sheet(systems, choose(evaluator.real.split, options.rows, p.seed), p.seed).save(
        options.out / "comparison.png"
    )
    write_json(options.out / "comparison.json", compare.measure(systems, evaluator, p.seed))


def _system(text: str) -> "compare.System":
    from textbloom.app import compare

    name, equals, folder = text.partition("=")
    if not (name and equals and (compare.project_of(Path(folder)) / config.PARAMS).is_file()):
        raise errors.UserError(f"systems: expected NAME=PROJECT, the folder of a trained project, got '{text}'")
    return compare.open_system(name, Path(folder))
