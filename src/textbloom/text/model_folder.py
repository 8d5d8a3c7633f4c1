"""What lies in a sentence encoder's folder: its modules, its weights, and the hashes that name both."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.core.files import refuse_pointer, sha256

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_SETTINGS = (".json", ".txt", ".model")


@dataclass(frozen=True)
class ModelFolder:
    """A folder of a sentence-transformers model, or of a plain transformers model.

    `modules`: the folders that the model is read from, the language model's first.
    `weights`: every weight file in them, safetensors all.
    """

    path: Path
    modules: tuple[Path, ...]
    weights: tuple[Path, ...]

    @property
    def weights_sha256(self) -> str:
        """sha256 of the weight file; of several, that of what `sha256sum` prints for them, by path from the folder."""
        return sha256(self.weights[0]) if len(self.weights) == 1 else self._digest(self.weights)

    @property
    def settings_sha256(self) -> str:
        """The same over all that decides the vectors beside the weights: tokenizer, pooling, lengths, prompts.

        It covers every .json, .txt and .model file beside the weights, so a change that alters no vector may change
        it too.
        """
        folders = {self.path, *self.modules}
        return self._digest(file for folder in folders for file in folder.glob("*") if file.suffix in _SETTINGS)

    def _digest(self, files: Iterable[Path]) -> str:
        lines = sorted((file.relative_to(self.path).as_posix(), sha256(file)) for file in files)
        return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in lines).encode()).hexdigest()


def inspect(folder: Path) -> ModelFolder:
    """Find the modules and weights of the model in `folder`.

    Raises UserError where weights are absent or only to be had by running a pickle.
    """
    if not folder.is_dir():
        raise UserError(f"encoder.path: {folder} is not a folder; give the folder of an encoder, or null")
    _refuse_pointers(folder)
    listed = folder / "modules.json"
    try:
        names = [module["path"] for module in json.loads(listed.read_bytes())] if listed.exists() else [""]
    except (ValueError, LookupError, TypeError):
        raise UserError(f"encoder.path: {listed} does not list the folders of a model: fetch it again") from None
    modules = tuple(dict.fromkeys(folder / name for name in names))
    weights: list[Path] = []
    for module in modules:
        _refuse_pointers(module)
        found = sorted(module.glob("*.safetensors"))
        pickles = sorted(file.name for file in module.glob("*") if file.suffix in _PICKLES)
        # A module without weights, such as pooling, has neither.
        if not found and (pickles or module == modules[0]):
            only = f", only {pickles[0]}, a pickle, which could run any code" if pickles else ""
            raise UserError(
                f"encoder.path: {module} holds no model.safetensors{only}: give the folder of an encoder that has it, "
                "or null"
            )
        weights += found
    return ModelFolder(folder, modules, tuple(weights))


def _refuse_pointers(folder: Path) -> None:
    for file in folder.glob("*"):
        if file.is_file():
            refuse_pointer(file)
