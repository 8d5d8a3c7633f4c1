"""The models that draw, by name: what this project has trained, DVC's experiments, and the shipped ones."""

import subprocess
import sys
from pathlib import Path

from textbloom import config
from textbloom.core.errors import UserError
from textbloom.core.trained_folder import CONFIG, read_config
from textbloom.report.revisions import experiments
from textbloom.sampling.text_to_image import TextToImage
from textbloom.text import open_encoder

OWN = "this project"
SHIPPED = "flowers102-textbloom"  # what draws before anything is trained
_EXPERIMENTS = Path(".dvc/tmp/experiment-models")


def names() -> list[str]:
    """All that `open_model` takes here, the best choice first."""
    own = [OWN] if (config.trained(config.load().evaluate.model) / CONFIG).is_file() else []
    shipped = [SHIPPED, *sorted(path.parent.name for path in config.SHIPPED.glob(f"*/{CONFIG}"))]
    return [*own, *dict.fromkeys(shipped), *experiments()]


def open_model(name: str) -> TextToImage:
    """A model of `names`, or the trained folder of that path, with the encoder that it was trained with.

    Raises UserError where the model or its encoder cannot be had.
    """
    p = config.load()
    if name == OWN:
        encoder = open_encoder(**p.encoder.opened_by)
        return TextToImage(config.trained(p.evaluate.model), encoder, p.evaluate.generator)
    folder = _folder(name)
    trained_with = read_config(folder)["encoder"]
    # Only pretrained encoders are had by their name; one that was trained with its model lies beside that project's.
    encoder = open_encoder(
        trained_with["name"],
        trained=config.TEXT_ENCODER,
        precision=trained_with.get("precision", "auto"),  # one that was trained here has none
        source=p.encoder.source,
        bilinear_layers=trained_with.get("bilinear_layers"),
    )
    return TextToImage(folder, encoder)


def _folder(name: str) -> Path:
    if (config.SHIPPED / name).is_dir() or name == SHIPPED:
        return config.SHIPPED / name
    commit = experiments().get(name)
    if commit is None:
        if not Path(name).is_dir():
            raise UserError(f"--model: there is no model or folder {name!r}; there are: {', '.join(names())}")
        return Path(name)
    made = _EXPERIMENTS / commit
    if not made.is_dir():
        made.parent.mkdir(parents=True, exist_ok=True)
        get = ["dvc", "get", "--quiet", ".", str(config.BASE), "--rev", commit, "-o", str(made)]
        if subprocess.run([sys.executable, "-m", *get], capture_output=True, check=False).returncode:
            raise UserError(f"{name}: the experiment's model is not in DVC's cache: run `dvc exp run` for it again")
    return made
