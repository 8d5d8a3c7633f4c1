"""What can befall a file, and what a command makes of it: a project, its stages in forked children, and a verdict."""

import csv
import hashlib
import io
import json
import os
import runpy
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import torch
from scipy.io import savemat
from torch import Tensor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from support import tiny_flowers
from support.prepared_project import ROOT, Coarse
from textbloom import config
from textbloom.app import cli
from textbloom.data import flowers102
from textbloom.features import photo_features
from textbloom.text import TextEncoder, pretrained

SECONDS = 120  # after which a command counts as hanging


def _piece(data: bytes, chance: Random) -> slice:
    """A random piece, at most a quarter of the file and mostly short."""
    start = chance.randrange(len(data))
    return slice(start, start + 1 + int(len(data) / 4 * chance.random() ** 4))


def flip_bit(data: bytes, chance: Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data))]


def zero(data: bytes, chance: Random) -> bytes:
    piece = _piece(data, chance)
    return data[: piece.start] + bytes(len(data[piece])) + data[piece.stop :]


def insert(data: bytes, chance: Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.randrange(1, 100)) + data[place:]


def drop(data: bytes, chance: Random) -> bytes:
    piece = _piece(data, chance)
    return data[: piece.start] + data[piece.stop :]


def swap(data: bytes, chance: Random) -> bytes:
    one, two, three = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[:one] + data[two:three] + data[one:two] + data[three:]


def double_line(data: bytes, chance: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    place = chance.randrange(len(lines))
    return b"".join([*lines[: place + 1], *lines[place:]])


def drop_line(data: bytes, chance: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    place = chance.randrange(len(lines))
    return b"".join(lines[:place] + lines[place + 1 :])


def change_digit(data: bytes, chance: Random) -> bytes:
    """One of the digits, anywhere; a file without one loses a bit."""
    places = [place for place, byte in enumerate(data) if byte in b"0123456789"]
    if not places:
        return flip_bit(data, chance)
    place = chance.choice(places)
    return data[:place] + str((data[place] - ord("0") + chance.randrange(1, 10)) % 10).encode() + data[place + 1 :]


KINDS = (flip_bit, cut, zero, insert, drop, swap, double_line, drop_line, change_digit)

RAW = [flowers102.PHOTOS, flowers102.CAPTIONS, flowers102.LABELS, flowers102.SETS]
COPY = "data/raw/flowers102/{}"
PREPARED = [str(path) for path in config.PREPARED]
TRAINED = ["models/base/config.json", "models/base/generator-ema.safetensors"]
ENCODER = ["data/text_encoder/config.json", "data/text_encoder/encoder.safetensors"]
# Of each stage or command, in the order in which they run, the files that it reads beside params.yaml.
READS = {
    "download": [f"mirror/{name}" for name in RAW],
    "captions": [COPY.format(name) for name in RAW],
    "images": ["data/captions.csv", COPY.format(flowers102.PHOTOS)],
    "preview": PREPARED[:3],
    "features": ["data/images.safetensors"],
    "photo_features": ["data/captions.csv", COPY.format(flowers102.PHOTOS)],
    "text_encoder": ["data/captions.csv", "data/photo_features.safetensors"],
    "embed": ["data/captions.csv", *ENCODER],
    "train": PREPARED,
    "evaluate": [*PREPARED, "data/real_features.safetensors", *TRAINED],
    "sample": [
        *PREPARED, *TRAINED, "models/base/losses.csv", "models/base/progress.safetensors", "plots/memorisation.csv",
    ],
    "generate": [*TRAINED, *ENCODER],
}  # fmt: skip

QUICK = [
    "data.dataset=flowers102", "data.checksums=recorded", "data.split=oxford", "encoder.name=bag-of-ngrams",
    "encoder_training.epochs=1", "encoder_training.batch_size=6", "model.backbone=null", "objective.mode_seeking=0",
    "model.features=2",
    "model.noise_dim=5", "model.text_projection=4", "train.epochs=1", "train.batch_size=40",
    "evaluate.extractor=coarse", "evaluate.samples=100", "sample.rows=1", "sample.columns=2",
]  # fmt: skip

# What a file of text means, by its ending: where that is another, so may be the result. The rest have checksums.
MEANING: dict[str, Callable[[str], Any]] = {
    ".csv": lambda text: list(csv.reader(io.StringIO(text, newline=""))),
    ".json": json.loads,
    ".yaml": lambda text: config.parse(text, "params.yaml"),
}


class Verdict(NamedTuple):
    """What became of a damage: refused, as if sound, another meaning, or a fault and which."""

    name: str
    said: str = ""


class _Words(TextEncoder):
    """Vectors of 12 numbers that a caption's letters decide."""

    def __init__(self) -> None:
        self.metadata = {"name": "letters", "sha256": "2" * 64}

    def encoded(self, captions: list[str], batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        digests = [hashlib.sha256(caption.encode()).digest() for caption in captions]
        yield captions, torch.tensor([[byte / 255 - 0.5 for byte in digest[:12]] for digest in digests])


def _coarse_features(network: Any, photos: Tensor) -> dict[str, Tensor]:
    """1024 in all, as many as an encoder's dimensions."""
    pooled = torch.nn.functional.adaptive_avg_pool2d(photos.float() / 255, 2).flatten(1).repeat(1, 40)
    return {"last": pooled, "stages": pooled, "colours": photo_features.colours(photos)}


def stand_ins(patch: pytest.MonkeyPatch) -> None:
    """Let quick ones judge in this process, for which QUICK asks."""
    patch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    patch.setattr(pretrained, "load", lambda *_, **__: _Words())
    patch.setattr(photo_features, "read", _coarse_features)


def write_mirror(folder: Path) -> None:
    """Archives in the layout of Oxford-102: 240 pictures of 12 classes, half of which test."""
    count, colours = 240, ("red", "blue", "pink", "white")
    labels = [1 + number % 12 for number in range(count)]
    texts = {
        tiny_flowers.caption_name(number + 1, labels[number]):
            f"a {colours[number % 4]} flower with {number} petals\nit has {number} leaves\n".encode()
        for number in range(count)
    }  # fmt: skip
    photos = {tiny_flowers.photo_name(number + 1): tiny_flowers.jpeg(number, 40, 30) for number in range(count)}
    folder.mkdir()
    tiny_flowers.write_archive(folder / flowers102.PHOTOS, photos)
    tiny_flowers.write_archive(folder / flowers102.CAPTIONS, texts)
    sets = {"trnid": range(1, 101), "valid": range(101, 121), "tstid": range(121, 241)}
    savemat(folder / flowers102.LABELS, {"labels": [labels]}, do_compression=True)
    savemat(folder / flowers102.SETS, {name: [list(ids)] for name, ids in sets.items()}, do_compression=True)


class Project:
    """A project whose every stage takes a second or less, built once; damage is done to linked copies of it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, commands: Sequence[str] = tuple(READS)) -> None:
        """Builds it by these commands of READS; by `patch` quick stand-ins judge in this process.

        PyTorch must have one thread: a forked child has only the thread that forked.
        """
        stand_ins(patch)
        self.folder, self.work = folder / "sound", folder / "damaged"
        self.folder.mkdir(parents=True)
        write_mirror(self.folder / "mirror")
        (self.folder / config.PARAMS).write_bytes((ROOT / config.PARAMS).read_bytes())
        config.apply(None, [*QUICK, "data.mirror=mirror"], self.folder / config.PARAMS)
        self.targets = [(command, file) for command in commands for file in ["params.yaml", *READS[command]]]
        self.made: dict[str, dict[str, str]] = {}
        for command in commands:
            before = self._tree(self.folder)
            code, said = run(command, self.folder)
            assert code == 0, f"{command}: {said}"
            self.made[command] = {k: v for k, v in self._tree(self.folder).items() if before.get(k) != v}

    def damage(self, number: int, seed: int) -> tuple[str, str, str, Verdict]:
        """The damage of this number: command, file, kind, and what became of it."""
        chance = Random(f"{seed} {number}")
        command, file = self.targets[number % len(self.targets)]
        kind = chance.choice(KINDS)
        sound = (self.folder / file).read_bytes()
        while (damaged := kind(sound, chance)) == sound:
            pass
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.folder, self.work, copy_function=os.link, ignore=shutil.ignore_patterns(".dvc"))
        for name in self.made[command]:
            (self.work / name).unlink()
        (self.work / file).unlink()
        (self.work / file).write_bytes(damaged)
        return command, file, kind.__name__, self._verdict(command, file, *run(command, self.work))

    def _verdict(self, command: str, file: str, code: int | None, said: str) -> Verdict:
        found, wanted = self._tree(self.work), self.made[command]
        made = {name: digest for name, digest in found.items() if name in wanted}
        if code is None:
            return Verdict("fault: hangs", said)
        if new := set(found) - set(wanted) - set(self._tree(self.folder)):
            return Verdict("fault: leaves files", f"{new} {said}")
        if code:
            errors = [line for line in said.splitlines() if line.startswith("error: ")]
            if "Traceback" in said or len(errors) != 1:
                return Verdict("fault: no line", said)
            if made.items() - wanted.items():
                return Verdict("fault: refused, yet written", errors[0])
            section = errors[0].split()[1].rstrip(":").partition(".")[0]
            named = Path(file).name in errors[0] or section in {*config.Params.model_fields, "caption", "photo"}
            return Verdict("refused" if named else "fault: another file is named", errors[0])
        if made == wanted:
            return Verdict("as if sound")
        differing = {name for name in wanted if made.get(name) != wanted[name]}
        if (meaning := MEANING.get(Path(file).suffix)) is not None:
            before, after = ((place / file).read_text(encoding="utf-8") for place in (self.folder, self.work))
            if meaning(before) != meaning(after):
                return Verdict("another meaning", " ".join(differing))
        if set(made) != set(wanted):
            return Verdict("fault: outputs are missing", f"{set(wanted) - set(made)}")
        if command == "download" and differing <= {COPY.format(Path(file).name), COPY.format("manifest.json")}:
            return Verdict("taken as it is")  # as `data.checksums: recorded` asks for; later stages read it
        return Verdict("fault: another result", " ".join(differing))

    @staticmethod
    def _tree(folder: Path) -> dict[str, str]:
        """The sha256 of each file, but of locks, unfinished runs and what says when and how long."""
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in files.items()
            if not name.startswith((".dvc", "metrics/provenance"))
        }


def _commands() -> dict[str, Callable[[], None]]:
    """Each stage and command, its modules loaded."""
    stages = [name for name in READS if name != "generate"]
    mains = {name: runpy.run_path(str(ROOT / "stages" / f"{name}.py"), run_name=name)["main"] for name in stages}
    found: dict[str, Callable[[], None]] = {name: partial(config.run, main) for name, main in mains.items()}
    arguments = ["generate", "a red flower with 7 petals", "--out", "plots/generated.png"]
    return found | {"generate": partial(cli.main, arguments)}


COMMANDS = _commands()


def run(command: str, folder: Path) -> tuple[int | None, str]:
    """Run a command in a forked child; returns its exit status, None where it took too long, and what it said."""
    log = folder.with_suffix(".log")
    child = os.fork()
    if child == 0:
        _be_the_command(command, folder, log)
    ends = time.monotonic() + SECONDS
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, log.read_text(errors="replace")
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(done[1]), log.read_text(errors="replace")


def _be_the_command(command: str, folder: Path, log: Path) -> None:
    code = 1
    try:
        os.chdir(folder)
        with open(log, "w", buffering=1) as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.stdout = sys.stderr = said
            warnings.resetwarnings()
            try:
                COMMANDS[command]()
                code = 0
            except SystemExit as ended:
                print(ended.code)
            except BaseException:
                traceback.print_exc()
    finally:
        os._exit(code)
