"""Training the text encoder: what a batch holds, the same bytes for the same seed, through kills, and its stage."""

import itertools
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook

from textbloom import config
from textbloom.core import checkpoint
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_metadata, load_tensors, save_tensors
from textbloom.text import encoder_training, joint_embedding, trained_encoder
from textbloom.text.encoder_training import Pairs, Schedule

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
CLASSES, PICTURES, CAPTIONS, DIMS = 5, 4, 3, 6
PRETRAINED = [{"name": "a network", "sha256": "0" * 64}]


class Tiny(nn.Module):
    """Tokens [B, L] to [B, DIMS]: enough of an encoder for the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(256, DIMS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table(tokens.long()).mean(1)


class Killed(Exception):
    pass


class Counted(Pairs):
    """Counts the steps that are begun, and ends the run in place of the one after the first `most`."""

    steps, most = 0, sys.maxsize

    def draw(self, batch_size: int, stream: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if self.steps == self.most:
            raise Killed
        self.steps += 1
        return super().draw(batch_size, stream)


def pairs() -> Counted:
    """Features and captions that carry their own class, picture and number."""
    count = CLASSES * PICTURES
    # Neither sorted by class nor caption by picture: the pairing must not lean on order.
    pictures = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    classes = pictures % CLASSES
    features = torch.stack([torch.tensor([c, p, 0, 0.5, 1, 2]) for p, c in enumerate(classes.tolist())])
    owner = torch.arange(count).repeat(CAPTIONS)
    captions = torch.stack([torch.tensor([int(p), r, int(classes[p])]) for r, p in enumerate(owner)]).to(torch.uint8)
    return Counted(features, classes, captions, owner)


def schedule(seed: int = 7, epochs: int = 3, lr: float = 0.01, precision: str = "fp32") -> Schedule:
    return Schedule(seed, epochs, batch_size=4, lr=lr, lr_decay=0.9, precision=precision)


def train(folder: Path, drawn: Pairs | None = None, **of_schedule: Any) -> tuple[torch.Tensor, list[float]]:
    """The weights of a tiny network that was trained, and its losses."""
    torch.manual_seed(0)
    network = Tiny()
    losses = encoder_training.train(network, drawn or pairs(), schedule(**of_schedule), CPU, folder)
    return network.table.weight, losses


def test_a_batch_holds_distinct_classes_each_a_picture_with_its_own_caption():
    drawn = pairs()
    seen_pictures, seen_captions = set(), set()
    for step in range(200):
        features, captions = drawn.draw(4, torch.Generator().manual_seed(step))
        classes, pictures = features[:, :2].long().unbind(1)
        assert len(classes.unique()) == 4
        assert captions[:, 0].tolist() == pictures.tolist() and captions[:, 2].tolist() == classes.tolist()
        seen_pictures |= set(pictures.tolist())
        seen_captions |= set(captions[:, 1].tolist())
    assert (len(seen_pictures), len(seen_captions)) == (20, 60)


def test_a_batch_larger_than_the_classes_holds_them_all():
    features, _ = pairs().draw(40, torch.Generator().manual_seed(0))
    assert sorted(features[:, 0].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_asked_precision_and_its_weights_are_float32(tmp_path, precision, dtype):
    network = nn.Sequential(Tiny(), nn.Linear(DIMS, DIMS))
    kinds = set()
    network[1].register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    encoder_training.train(network, pairs(), schedule(epochs=1, precision=precision), CPU, tmp_path)
    assert kinds == {dtype} and {weights.dtype for weights in network.parameters()} == {torch.float32}


def test_one_class_has_nothing_to_tell_apart():
    with pytest.raises(UserError, match="are all of one: choose a pretrained encoder"):
        Pairs(torch.zeros(3, 2), torch.ones(3, dtype=torch.int64), torch.zeros(3, 4), torch.arange(3))


def test_an_epoch_fills_its_batches_with_as_many_pictures_as_there_are_and_the_rate_decays_after_it(tmp_path):
    rates = []
    note = register_optimizer_step_pre_hook(lambda adam, *_: rates.append(adam.param_groups[0]["lr"]))
    _, losses = train(tmp_path)
    note.remove()
    assert len(losses) == 3 and CLASSES * PICTURES / 4 == 5
    assert rates == pytest.approx([0.01] * 5 + [0.009] * 5 + [0.0081] * 5)


def test_two_runs_of_a_seed_end_with_the_same_bytes(tmp_path):
    (first, losses), (second, again), (other, _) = (train(tmp_path / str(n), seed=7 + n // 2) for n in range(3))
    assert torch.equal(first, second) and losses == again
    assert not torch.equal(first, other)


def test_training_lowers_the_loss(tmp_path):
    _, losses = train(tmp_path, epochs=40, lr=0.1)
    assert sum(losses[-5:]) < sum(losses[:5]) / 2


@pytest.fixture
def _saves_each_step(monkeypatch):
    monkeypatch.setattr(encoder_training, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(encoder_training, "LOG_STEPS", 1)


@pytest.mark.usefixtures("_saves_each_step")
@pytest.mark.parametrize("at", [1, 4, 5, 6, 14])
def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(tmp_path, at):
    whole, losses = train(tmp_path / "whole")
    first, second = pairs(), pairs()
    first.most = at
    with pytest.raises(Killed):
        train(tmp_path / "cut", first)
    resumed, again = train(tmp_path / "cut", second)
    assert torch.equal(whole, resumed) and again == losses and second.steps == 15 - at


@pytest.mark.usefixtures("_saves_each_step")
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    network, calls = Tiny(), itertools.count(1)

    def spoil(network, inputs):
        if next(calls) == 7:
            network.table.weight.data.fill_(float("nan"))

    network.register_forward_pre_hook(spoil)
    with pytest.raises(UserError, match=r"loss is nan at step 7: lower encoder_training\.lr"):
        encoder_training.train(network, pairs(), schedule(), CPU, tmp_path)
    state = tmp_path / checkpoint.STATE
    assert load_metadata(state)["step"] == 6 and load_tensors(state)["network/table.weight"].isfinite().all()


def rows(words: list[str], splits: list[str], photos: int = 3, starts: Sequence[str] = ("a", "one")) -> pd.DataFrame:
    """captions.csv of a few photos a class with a few captions each, the class told by its words."""
    return pd.DataFrame(
        [
            {"image_id": 10 * c + p, "class_id": c + 1, "split": split, "caption": f"{start} {word} flower"}
            for c, (word, split) in enumerate(zip(words, splits, strict=True))
            for p in range(photos)
            for start in starts
        ]
    )


def test_a_part_joins_captions_pictures_and_classes_of_its_splits():
    table = rows(["red", "blue", "pink"], ["train", "test", "val"])
    features = {"last": torch.tensor(sorted(table["image_id"].unique()))[:, None].float()}
    part = encoder_training.select(table, features, ("train", "val"))
    assert part.features["last"].flatten().tolist() == [0, 1, 2, 20, 21, 22]
    assert part.classes.tolist() == [1, 1, 1, 3, 3, 3]
    assert part.captions[6] == "a pink flower" and part.caption_photos[6] == 3
    assert part.caption_classes.tolist() == [1] * 6 + [3] * 6
    assert not encoder_training.select(table, features, ("none",)).captions


def train_and_measure(name: str, table: pd.DataFrame, features: dict, schedule: Schedule, folder: Path) -> dict:
    """In `folder`, with the encoder in its sub-folder `encoder`."""
    splits = ("train", "val")
    (folder / "encoder").mkdir(parents=True)
    arguments = (name, table, features, PRETRAINED, splits, schedule, folder / "encoder")
    return encoder_training.train_and_measure(*arguments, resume_root=folder / "resume", files=[])


def test_a_run_leaves_an_encoder_its_measures_and_no_state(tmp_path):
    table = rows(["red", "blue", "pink"], ["train", "train", "test"])
    # More features than the shared space has dimensions, most of them of no variance.
    features = {group: torch.zeros(9, 400) for group in joint_embedding.WEIGHTS}
    for values in features.values():
        values[:, :8] = torch.rand(9, 8)
    schedule = Schedule(seed=1, epochs=1, batch_size=2, lr=1e-3, lr_decay=0.9, precision="fp32")
    found = train_and_measure("char-cnn-rnn", table, features, schedule, tmp_path)
    assert found["parameters"] == 2_994_560
    # one class is left to choose from, of two in training
    assert (found["zero_shot_top1"], found["n_classes"], found["n_classes_seen"], found["train_classes"]) == (
        1,
        1,
        0,
        2,
    )
    assert (found["n_pictures"], found["n_captions"]) == (3, 6)
    assert trained_encoder.load(tmp_path / "encoder").metadata["pretrained"] == PRETRAINED
    assert not list((tmp_path / "resume").iterdir())


def test_what_is_learnt_of_a_word_serves_for_a_class_that_was_never_seen_and_again_with_the_same_bytes(tmp_path):
    words = ("red", "blue", "pink", "star", "disc")
    names = {"red star": "train", "red disc": "train", "blue star": "train", "pink disc": "train", "pink star": "val"}
    names |= {"blue disc": "test", "red bell": "test"}
    table = rows(list(names), list(names.values()), photos=4, starts=("a", "one", "this"))
    captions = table.groupby("image_id")["caption"].first()
    shown = torch.tensor([[float(word in caption) for word in words] for caption in captions])
    features = {group: torch.cat([shown, 0.1 * torch.rand(len(shown), 8)], 1) for group in joint_embedding.WEIGHTS}
    features["last"] = functional.pad(features["last"], (0, 1100))
    schedule = Schedule(seed=1, epochs=40, batch_size=5, lr=0.1, lr_decay=0.95, precision="fp32")
    found = [train_and_measure("bag-of-ngrams", table, features, schedule, tmp_path / name) for name in ("one", "two")]
    assert found[0] == found[1] and (found[0]["zero_shot_top1"], found[0]["n_classes_seen"]) == (1.0, 0)
    for file in ("encoder.safetensors", "config.json"):
        assert (tmp_path / "one/encoder" / file).read_bytes() == (tmp_path / "two/encoder" / file).read_bytes()


def test_the_stage_learns_from_the_photo_features_and_writes_encoder_and_measures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    config.PARAMS.write_bytes((ROOT / "params.yaml").read_bytes())
    config.apply(None, ["encoder.name=bag-of-ngrams", "encoder_training.epochs=1"])
    table = rows(["red", "blue", "pink"], ["train", "val", "test"])
    config.CAPTIONS.parent.mkdir()
    columns = ["image_id", "class_id", "split", "caption_index", "caption"]
    table.assign(caption_index=0).to_csv(config.CAPTIONS, index=False, columns=columns)
    features = {group: torch.rand(9, 400) for group in joint_embedding.WEIGHTS}
    save_tensors(config.PHOTO_FEATURES, features, {"picture_features": "some", "pretrained": PRETRAINED})
    runpy.run_path(str(ROOT / "stages/text_encoder.py"), run_name="__main__")
    assert trained_encoder.load(config.TEXT_ENCODER).metadata["pretrained"] == PRETRAINED
    metrics = json.loads(config.ENCODER_METRICS.read_text())
    assert (metrics["encoder"], metrics["picture_features"], metrics["train_classes"]) == ("bag-of-ngrams", "some", 2)


def test_for_another_encoder_the_stage_says_so_at_once_without_torch(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    code = (
        f"import sys, runpy; runpy.run_path({str(ROOT / 'stages/text_encoder.py')!r}, run_name='__main__'); "
        "assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert json.loads((tmp_path / "data/text_encoder/config.json").read_text()) == {"trained": False}
    metrics = json.loads((tmp_path / "metrics/encoder.json").read_text())
    assert metrics == {"encoder": "all-MiniLM-L6-v2", "trained": False}
