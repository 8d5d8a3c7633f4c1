"""File names that rooms still know themselves; paths of the project are in config.py."""

import os
from pathlib import Path

CAPTIONS = Path("data/captions.csv")
IMAGES = Path("data/images.safetensors")
EMBEDDINGS = Path("data/embeddings.safetensors")

MODELS = Path("models")
# in the folder of a trained model:
GENERATOR = "generator.safetensors"
GENERATOR_EMA = "generator-ema.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
MODEL_CONFIG = "config.json"
PROGRESS = "progress.safetensors"  # the same captions and noise drawn as training went on
HISTORY = "losses.csv"  # what plots/ shows of the run's losses too

RESUME = Path(".dvc/tmp/resume")  # <fingerprint>/: training state of unfinished runs
FINISHED = Path(".dvc/tmp/finished")  # training states of the last finished runs


def main_workspace(folder: Path) -> Path:
    """A folder of DVC's main workspace: the temporary ones of experiments go, and DVC clears the outputs of stages."""
    return Path(os.environ.get("DVC_ROOT", ".")) / folder
