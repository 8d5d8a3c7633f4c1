"""The live page: a real run's state as it goes on, after a kill, and when there is none."""

import base64
import io
import os
import re
import socket
import subprocess
import threading
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image
from support import tiny_training
from support.dvc_project import ROOT

from textbloom.core import checkpoint
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors
from textbloom.report import watch
from textbloom.training import loop


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """The folder of a run that has made eight of its nine steps and one progress grid, by this process."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    folder = tmp_path / "resume" / "a1b2"

    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        if step == 8:
            raise Killed

    with checkpoint.lock(folder), pytest.raises(Killed):
        tiny_training.train(folder, after_step=kill)
    return folder


def hold(folder: Path, process: int, host: str) -> None:
    (folder / "lock").write_text(f"{process} on {host} since 2026-01-01 10:00:00+00:00", encoding="utf-8")


def test_a_run_that_goes_on_shows_how_far_it_is_its_newest_pictures_and_its_curves(run):
    html = watch.render(run.parent)
    assert f"process {os.getpid()} on {socket.gethostname()}" in html and "Stopped" not in html
    told = re.search(r"epoch 2\.7 of 3 · (\d+) images/s · ([\d.]+) s left · saved ([\d.]+) s ago", html)
    assert told and int(told[1]) > 0
    sheets = load_tensors(run / checkpoint.STATE)["sheets"]
    assert sheets.shape[0] == 1 and "Pictures after epoch 2" in html
    assert html.count("<img src=") == sheets.shape[1]
    assert all(f"<figcaption>{caption}</figcaption>" in html for caption in ("a red flower", "a blue flower"))
    assert "Losses by epoch" in html and "<code>discriminator</code>" in html and "epoch 2</span>" in html


def test_the_pictures_are_those_of_the_state(run):
    """Pixel by pixel, of a PNG decoded by another program than the one that wrote it."""
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)"', watch.render(run.parent))
    for address, picture in zip(shown, load_tensors(run / checkpoint.STATE)["sheets"][-1], strict=True):
        pixels = image.imread(io.BytesIO(base64.b64decode(address)))
        assert np.array_equal((pixels * 255).round(), picture.permute(1, 2, 0).numpy())


def test_the_time_left_is_that_of_the_steps_left_at_the_speed_so_far():
    watched = {"steps_per_epoch": 10, "epochs": 4, "images_left": 600, "images_per_second": 5.0}
    assert watch.progress(20, watched, age=30.0) == "epoch 2.0 of 4 · 5 images/s · 1 min 30 s left · saved 30 s ago"


def test_a_run_whose_process_has_ended_is_stopped_and_one_elsewhere_goes_on(run):
    hold(run, 2**22 + 1, socket.gethostname())  # above the largest process id of Linux
    html = watch.render(run.parent)
    assert "<b>Stopped</b> at epoch 2.7 of 3" in html and "<code>make repro</code>" in html
    hold(run, 2**22 + 1, "another-machine")
    assert "another-machine" in watch.render(run.parent) and "Stopped" not in watch.render(run.parent)


def test_what_was_measured_is_a_curve_over_its_own_epochs():
    rows = [{"epoch": epoch, "kernel_distance": 1 / epoch} for epoch in (2, 4, 6)]
    (curve,) = watch.curves_of(rows)
    assert (curve.name, curve.epochs) == ("kernel_distance", "6") and curve.lines[0][2] == "0.1667"


def test_a_text_encoder_in_training_shows_its_loss(tmp_path):
    with checkpoint.lock(tmp_path / "a1b2"):
        network = torch.nn.Linear(2, 2)
        notes = {"step": 40, "losses": [0.5, 0.25], "total": 0.0}  # as text/encoder_training.py saves them
        checkpoint.save(tmp_path / "a1b2" / checkpoint.STATE, {"network": network}, {}, notes)
        html = watch.render(tmp_path)
    assert "<h2>text encoder</h2>" in html and "step 40, saved" in html and "<code>loss</code>" in html


def test_without_a_run_the_page_says_so(tmp_path):
    assert "No training is going on in this folder" in watch.render(tmp_path)
    folder = tmp_path / "gone"
    with checkpoint.lock(folder):
        html = watch.render(tmp_path)
        assert "a run before its first save" in html and "No training" not in html
    hold(folder, 2**22 + 1, socket.gethostname())
    assert "No training is going on in this folder" in watch.render(tmp_path)


def test_make_watch_starts_it_with_its_arguments():
    told = subprocess.run(
        ["make", "-n", "--no-print-directory", "-o", "setup", "watch", "ARGS=--port 8601"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.strip() == "PYTHONPATH=src python -m textbloom.report.watch --port 8601"


def test_the_page_is_served_to_this_machine_and_renews_itself(run, monkeypatch):
    monkeypatch.setattr(watch.config, "resume_root", lambda: run.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), watch.Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        with urllib.request.urlopen(address) as answer:
            html = answer.read().decode()
        with pytest.raises(UserError, match=rf"--port: {server.server_port} is taken: make watch ARGS="):
            watch.serve(server.server_port)
        server.shutdown()
        thread.join()
    assert "epoch 2.7 of 3" in html and '<meta http-equiv="refresh"' in html
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|<script|<link', html)
