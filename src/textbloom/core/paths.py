"""Where every artefact lies, relative to the project's root, which is the working directory of every stage."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")
PRESETS = Path("presets")

DOWNLOADS = Path(".dvc/tmp/downloads")  # whole files of an unfinished download
RAW = Path("data/raw")  # <dataset>/: archives as published, manifest.json
CAPTIONS = Path("data/captions.csv")
IMAGES = Path("data/images.safetensors")
IMAGE_IDS = Path("data/image_ids.csv")
TEXT_ENCODER = Path("data/text_encoder")  # an encoder trained here, or a note that none was
EMBEDDINGS = Path("data/embeddings.safetensors")

MODELS = Path("models")
BASE = MODELS / "base"  # what the train stage made
REFINED = MODELS / "refined"  # what the refine stage made of it, for systems of two stages
# in each of them:
GENERATOR = "generator.safetensors"
GENERATOR_EMA = "generator-ema.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
MODEL_CONFIG = "config.json"
PROGRESS = "progress.safetensors"  # the same captions and noise drawn as training went on
HISTORY = "losses.csv"  # what plots/ shows of the run's losses too

DATA_METRICS = Path("metrics/data.json")
EVAL_METRICS = Path("metrics/eval.json")
ENCODER_METRICS = Path("metrics/encoder.json")
TRAIN_METRICS = Path("metrics/train.json")
REFINE_METRICS = Path("metrics/refine.json")
PROVENANCE = Path("metrics/provenance")  # versions, device, git revision, seconds: never compared

PLOTS = Path("plots")
DATA_SHEET = PLOTS / "data.png"
LOSSES = PLOTS / "losses.csv"
REFINE_LOSSES = PLOTS / "losses_refine.csv"
PROGRESS_SHEET = PLOTS / "progress.png"

KEPT_FEATURES = Path(".dvc/tmp/picture-features")  # <fingerprint>.safetensors: of real pictures
RESUME = Path(".dvc/tmp/resume")  # <fingerprint>/: training state of unfinished runs
FINISHED = Path(".dvc/tmp/finished")  # training states of the last finished runs


def trained(which: str) -> Path:
    """Folder of the trained model that `evaluate.model` names: base or refined."""
    return MODELS / which


def raw(dataset: str) -> Path:
    """Folder of a data set's archives."""
    return RAW / dataset


def main_workspace(folder: Path) -> Path:
    """A folder of DVC's main workspace: the temporary ones of experiments go, and DVC clears the outputs of stages."""
    return Path(os.environ.get("DVC_ROOT", ".")) / folder
