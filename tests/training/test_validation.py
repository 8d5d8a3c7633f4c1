"""The best epoch: what measuring leaves as it was, which weights are kept, and that a kill changes neither."""

import runpy

import pandas as pd
import pytest
import torch
from support import prepared_project, tiny_training

from textbloom import config
from textbloom.core import trained_folder
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors
from textbloom.sampling.generator import load_generator
from textbloom.training import validation
from textbloom.training.trainer import Trainer


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    config.CAPTIONS.parent.mkdir()
    tiny_training.write_data()
    return tmp_path


def train(folder, epochs=4, **changes):
    """Twelve steps, measured after epochs 1 to 4; returns the table of the measurements."""
    tiny_training.train_stage(folder, epochs, **{"evaluate_every": 1, "lr": 5e-3, **changes})
    return pd.read_csv(folder / "validation.csv")


def same(first, second):
    ours, theirs = load_tensors(first), load_tensors(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_measuring_leaves_every_weight_and_loss_as_it_was(project):
    train(project / "measured")
    assert train(project / "plain", evaluate_every=None).empty
    for name in (trained_folder.GENERATOR, trained_folder.GENERATOR_EMA, trained_folder.DISCRIMINATOR):
        assert (project / "measured/base" / name).read_bytes() == (project / "plain/base" / name).read_bytes(), name
    assert (project / "measured/losses.csv").read_bytes() == (project / "plain/losses.csv").read_bytes()
    assert not (project / "plain/base" / trained_folder.GENERATOR_BEST).exists()
    assert (project / "plain/validation.csv").read_text() == "epoch,kernel_distance,precision,recall\n"


def test_the_best_weights_are_the_averaged_ones_of_a_run_that_ends_at_the_best_epoch(project):
    table = train(project / "whole")
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    best = int(table["epoch"][table["kernel_distance"].idxmin()])
    assert 1 < best < 4, "neither end, or the test would not tell which was kept"
    train(project / "shorter", epochs=best)
    kept = project / "whole/base" / trained_folder.GENERATOR_BEST
    assert same(kept, project / "shorter/base" / trained_folder.GENERATOR_EMA)
    assert not same(kept, project / "whole/base" / trained_folder.GENERATOR_EMA)
    assert f'"best_epoch": {best},' in (project / "whole/train.json").read_text()
    noted = trained_folder.read_config(project / "whole/base")["best"]
    assert (noted["epoch"], noted["network"]["name"]) == (best, "eye")


def test_epochs_between_are_not_measured_but_the_last_one_is(project):
    assert train(project / "some", epochs=5, evaluate_every=2)["epoch"].tolist() == [2, 4, 5]


@pytest.mark.usefixtures("_saves_each_step")
@pytest.mark.parametrize("at", [4, 9, 11])
def test_a_run_that_is_ended_and_goes_on_has_the_same_curve_and_the_same_best_weights(project, monkeypatch, at):
    train(project / "whole")
    advance = Trainer.advance

    def end(self, *batch):
        if self.step == at:
            raise KeyboardInterrupt
        return advance(self, *batch)

    with monkeypatch.context() as ended:
        ended.setattr(Trainer, "advance", end)
        with pytest.raises(KeyboardInterrupt):
            train(project / "cut")
    train(project / "cut")
    for name in ("validation.csv", "train.json", "base/config.json", f"base/{trained_folder.GENERATOR_BEST}"):
        assert (project / "cut" / name).read_bytes() == (project / "whole" / name).read_bytes(), name


def test_of_many_held_out_pictures_some_are_chosen_and_too_few_are_refused():
    chosen = validation.choose(tiny_training.prepared(validation.MOST + 40), seed=1)
    assert len(chosen) == validation.MOST and (chosen.image_ids[1:] > chosen.image_ids[:-1]).all()
    other = validation.choose(tiny_training.prepared(validation.MOST + 40), seed=2)
    assert (chosen.image_ids != other.image_ids).any()
    with pytest.raises(UserError, match=r"train\.evaluate_every: 19 val pictures are too few .*; take more pictures"):
        validation.choose(tiny_training.prepared(19), seed=1)


def test_the_stage_measures_on_val_pictures_and_keeps_what_generate_opens(tmp_path, monkeypatch):
    prepared_project.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    overrides = [
        "model.backbone=null",
        "objective.mode_seeking=0",
        "model.features=4",
        "train.epochs=2",
        "train.batch_size=55",
        "train.splits=train",
    ]
    config.apply(None, [*overrides, "train.evaluate_every=1", "evaluate.generator=best"])
    runpy.run_path(str(prepared_project.ROOT / "stages/train.py"), run_name="__main__")
    table = pd.read_csv(config.VALIDATION)
    assert table["epoch"].tolist() == [1, 2] and table.notna().all(axis=None)
    noted = trained_folder.read_config(config.BASE)["best"]
    assert noted["network"]["name"] == "efficientnet-lite0"
    best = load_generator(config.BASE, "best").network.state_dict()
    assert all(torch.equal(best[name], load_tensors(config.BASE / "generator-best.safetensors")[name]) for name in best)


def mean_colours(images):
    """Stands for a network."""
    return images.float().mean((2, 3)) / 255


def measured_by(real):
    return validation.Validation(torch.empty(0), mean_colours, mean_colours(real), {}).measure


def pictures(seed, count=30, brighter=0):
    stream = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 200, (count, 3, 1, 1), generator=stream) + brighter
    return colours.expand(-1, -1, 4, 4).to(torch.uint8)


def test_the_kernel_distance_is_the_unbiased_one_of_all_pictures():
    fake, real = pictures(1), pictures(2, brighter=55)
    x, y = (mean_colours(images).double() for images in (fake, real))

    def kernel(a, b):
        return float((a @ b / 3 + 1) ** 3)

    n = len(x)
    within = sum(kernel(z[i], z[j]) for z in (x, y) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    between = sum(kernel(a, b) for a in x for b in y) / n**2
    assert measured_by(real)(fake)["kernel_distance"] == pytest.approx(within - 2 * between, abs=1e-6)


def test_the_real_pictures_themselves_are_near_in_everything_and_farther_ones_farther():
    real = pictures(2)
    measure = measured_by(real)
    itself, near, far = measure(real), measure(pictures(3)), measure(pictures(3, brighter=55))
    assert itself["kernel_distance"] <= 0 and (itself["precision"], itself["recall"]) == (1, 1)
    assert near["kernel_distance"] < far["kernel_distance"]
    assert measure(pictures(3)) == near
