"""Training the text encoder: what a batch holds, the same bytes for the same seed, through kills, and its stage."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from textbloom.core.errors import UserError
from textbloom.text import encoder_data, encoder_run, encoder_training, picture_space
from textbloom.text.encoder_training import EncoderTrainer, Pairs, Schedule

CPU = torch.device("cpu")
CLASSES, PICTURES, CAPTIONS, DIMS = 5, 4, 3, 6


class Tiny(nn.Module):
    """Codes [B, L] to [B, DIMS]: enough of an encoder for the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(256, DIMS)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.table(codes.long()).mean(1)


def pairs() -> Pairs:
    """Features and captions that carry their own class, picture and number."""
    count = CLASSES * PICTURES
    # Neither sorted by class nor caption by picture: the pairing must not lean on order.
    pictures = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    classes = pictures % CLASSES
    features = torch.stack([torch.tensor([c, p, 0, 0.5, 1, 2]) for p, c in enumerate(classes.tolist())])
    owner = torch.arange(count).repeat(CAPTIONS)
    captions = torch.stack([torch.tensor([int(p), r, int(classes[p])]) for r, p in enumerate(owner)]).to(torch.uint8)
    return Pairs(features, classes, captions, owner)


def trainer(seed: int = 7, epochs: int = 3, lr: float = 0.01) -> EncoderTrainer:
    torch.manual_seed(0)
    schedule = Schedule(seed, epochs, batch_size=4, lr=lr, lr_decay=0.9, precision="fp32")
    return EncoderTrainer(Tiny(), pairs(), schedule, CPU)


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


def test_an_epoch_fills_its_batches_with_as_many_pictures_as_there_are():
    ours = trainer()
    assert ours.steps_per_epoch == CLASSES * PICTURES / 4
    assert len(encoder_training.train(ours, Path("unused"))) == 3 and ours.step == 15


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_asked_precision_and_its_weights_and_loss_are_float32(precision, dtype):
    network = nn.Sequential(Tiny(), nn.Linear(DIMS, DIMS))
    kinds = []
    network[1].register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    ours = EncoderTrainer(network, pairs(), Schedule(1, 1, 4, lr=0.01, lr_decay=0.9, precision=precision), CPU)
    assert ours.advance().dtype == torch.float32
    assert kinds == [dtype] and {weights.dtype for weights in network.parameters()} == {torch.float32}


def test_one_class_has_nothing_to_tell_apart():
    with pytest.raises(UserError, match="are all of one: choose a pretrained encoder"):
        Pairs(torch.zeros(3, 2), torch.ones(3, dtype=torch.int64), torch.zeros(3, 4), torch.arange(3))


def test_the_rate_decays_after_each_epoch(tmp_path):
    ours, rates = trainer(), []
    encoder_training.train(ours, tmp_path, lambda step: rates.append(ours.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([0.01] * 5 + [0.009] * 5 + [0.0081] * 5)


def same(ours: EncoderTrainer, theirs: EncoderTrainer) -> bool:
    return torch.equal(ours.network.state_dict()["table.weight"], theirs.network.state_dict()["table.weight"])


def test_two_runs_of_a_seed_end_with_the_same_bytes(tmp_path):
    first, second, other = trainer(), trainer(), trainer(seed=8)
    losses = [encoder_training.train(each, tmp_path / str(n)) for n, each in enumerate((first, second, other))]
    assert same(first, second) and losses[0] == losses[1]
    assert not same(first, other)


def test_training_lowers_the_loss(tmp_path):
    losses = encoder_training.train(trainer(epochs=40, lr=0.1), tmp_path)
    assert sum(losses[-5:]) < sum(losses[:5]) / 2


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 4, 5, 6, 14])
def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(tmp_path, monkeypatch, at):
    monkeypatch.setattr(encoder_training, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(encoder_training, "LOOK_STEPS", 1)
    whole = trainer()
    losses = encoder_training.train(whole, tmp_path / "whole")

    def kill(step):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        encoder_training.train(trainer(), tmp_path / "cut", kill)
    resumed, steps = trainer(), []
    assert encoder_training.train(resumed, tmp_path / "cut", steps.append) == losses
    assert same(whole, resumed) and len(steps) == 15 - at


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_training, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(encoder_training, "LOOK_STEPS", 1)
    ours = trainer()

    def spoil(step):
        if step == 6:
            with torch.no_grad():
                ours.network.table.weight.fill_(float("nan"))

    with pytest.raises(UserError, match=r"loss is nan at step 7: lower encoder_training\.lr"):
        encoder_training.train(ours, tmp_path, spoil)
    fresh = trainer()
    assert encoder_training.restore(tmp_path, fresh) is not None
    assert fresh.step == 6 and fresh.network.table.weight.isfinite().all()


def groups(count: int, scale: float = 1.0) -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(1)
    return {name: scale * torch.randn(count, 6, generator=stream) + 3 for name in picture_space.WEIGHTS}


def test_the_picture_space_gives_unit_length_and_leaves_units_and_offsets_aside():
    ours = picture_space.fit(groups(200), 5)(groups(200))
    assert ours.shape == (200, 5) and ours.dtype == torch.float32
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(200))
    theirs = picture_space.fit(groups(200, scale=50.0), 5)(groups(200, scale=50.0))
    torch.testing.assert_close((ours @ ours.T), (theirs @ theirs.T), atol=1e-3, rtol=0)


def test_with_all_its_dimensions_the_space_only_rotates_the_weighted_groups():
    data = groups(200)
    space = picture_space.fit(data, 18)
    parts = []
    for name, weight in picture_space.WEIGHTS.items():
        values = data[name].double()
        values = (values - values.mean(0)) / values.std(0, correction=0)
        parts.append(weight * values / values.norm(dim=1, keepdim=True))
    joined = torch.cat(parts, 1)
    joined = joined - joined.mean(0)
    joined = joined / joined.norm(dim=1, keepdim=True)
    torch.testing.assert_close((space(data) @ space(data).T).double(), joined @ joined.T, atol=1e-4, rtol=0)


def test_the_space_keeps_the_directions_of_largest_variance():
    data = groups(300)
    for name in ("stages", "colours"):
        data[name] = data["last"].clone()  # 18 features, 6 directions: 6 dimensions lose nothing
    ours, whole = picture_space.fit(data, 6)(data), picture_space.fit(data, 18)(data)
    torch.testing.assert_close(ours @ ours.T, whole @ whole.T, atol=1e-3, rtol=0)


def test_a_feature_that_never_varies_harms_nothing():
    data = groups(50)
    data["colours"][:, 2] = 0
    assert picture_space.fit(data, 5)(data).isfinite().all()


def rows(words: list[str], splits: list[str]) -> pd.DataFrame:
    """Three pictures a class with two captions each, the class told by its word."""
    table = [
        {"image_id": 10 * c + p, "class_id": c + 1, "split": split, "caption": f"{start} {word} flower"}
        for c, (word, split) in enumerate(zip(words, splits, strict=True))
        for p in range(3)
        for start in ("a", "one")
    ]
    return pd.DataFrame(table)


def test_a_part_joins_captions_pictures_and_classes_of_its_splits():
    table = rows(["red", "blue", "pink"], ["train", "test", "val"])
    ids = sorted(table["image_id"].unique())
    features = {"last": torch.tensor(ids)[:, None].float()}
    part = encoder_data.select(table, ids, features, ("train", "val"))
    assert part.features["last"].flatten().tolist() == [0, 1, 2, 20, 21, 22]
    assert part.classes.tolist() == [1, 1, 1, 3, 3, 3]
    assert part.captions[6] == "a pink flower" and part.caption_pictures[6] == 3
    assert part.caption_classes.tolist() == [1] * 6 + [3] * 6
    assert not encoder_data.select(table, ids, features, ("none",)).captions


def test_a_run_leaves_an_encoder_its_measures_and_no_state_and_the_same_bytes_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    table = rows(["red", "blue", "pink"], ["train", "train", "val"])
    ids = sorted(table["image_id"].unique())
    monkeypatch.setattr(encoder_run.coding, "EMBEDDING_DIM", 16)
    stream = torch.Generator().manual_seed(0)
    features = {group: torch.rand(len(ids), 8, generator=stream) for group in picture_space.WEIGHTS}
    schedule = Schedule(seed=1, epochs=1, batch_size=2, lr=1e-3, lr_decay=0.9, precision="fp32")
    one, two = (
        encoder_run.train_and_measure("char-cnn-rnn", table, ids, features, ["train"], schedule, tmp_path / name)
        for name in ("one", "two")
    )
    assert one == two and one["parameters"] == 2_994_560 - 513 * (1024 - 16)
    # one class is left to choose from, of two in training
    assert (one["zero_shot_top1"], one["n_classes"], one["n_classes_seen"], one["train_classes"]) == (1.0, 1, 0, 2)
    assert (one["n_pictures"], one["n_captions"]) == (3, 6)
    for name in ("encoder.safetensors", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert not list((tmp_path / ".dvc/tmp/resume").iterdir())


def test_for_another_encoder_the_stage_says_so_at_once_without_torch(tmp_path):
    project = Path(__file__).parents[1]
    (tmp_path / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    code = (
        f"import sys, runpy; runpy.run_path({str(project / 'stages/text_encoder.py')!r}, run_name='__main__'); "
        "assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(project / "src")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert json.loads((tmp_path / "data/text_encoder/config.json").read_text()) == {"trained": False}
    metrics = json.loads((tmp_path / "metrics/encoder.json").read_text())
    assert metrics == {"encoder": "all-MiniLM-L6-v2", "trained": False}
