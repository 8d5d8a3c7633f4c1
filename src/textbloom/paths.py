"""Where every artefact lies, relative to the project's root, which is the working directory of every stage."""

from pathlib import Path

PARAMS = Path("params.yaml")
PRESETS = Path("presets")

DOWNLOADS = Path(".dvc/tmp/downloads")  # whole files of an unfinished download
RAW = Path("data/raw")  # <dataset>/: archives as published, manifest.json
CAPTIONS = Path("data/captions.csv")
IMAGES = Path("data/images.safetensors")
IMAGE_IDS = Path("data/image_ids.csv")
EMBEDDINGS = Path("data/embeddings.safetensors")

MODELS = Path("models")
GENERATOR = MODELS / "generator.safetensors"
GENERATOR_EMA = MODELS / "generator-ema.safetensors"
DISCRIMINATOR = MODELS / "discriminator.safetensors"
MODEL_CONFIG = MODELS / "config.json"
PROGRESS = MODELS / "progress.safetensors"  # the same captions and noise drawn as training went on

EVAL_METRICS = Path("metrics/eval.json")
TRAIN_METRICS = Path("metrics/train.json")
PROVENANCE = Path("metrics/provenance")  # versions, device, git revision, seconds: never compared

PLOTS = Path("plots")
LOSSES = PLOTS / "losses.csv"
PROGRESS_SHEET = PLOTS / "progress.png"

RESUME = Path(".dvc/tmp/resume")  # <fingerprint>/: training state of unfinished runs


def raw(dataset: str) -> Path:
    """Folder of a data set's archives."""
    return RAW / dataset
