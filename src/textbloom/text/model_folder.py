"""What lies in a sentence encoder's folder: its modules, its weights, and the hashes that name both."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textbloom.core.errors import UserError

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_SETTINGS = (".json", ".txt", ".model")


@dataclass(frozen=True)
class ModelFolder:
    """A folder of a sentence-transformers model, or of a plain transformers model (`is_plain`).

    `modules`: the folders that the model is read from, the language model's first.
    `weights`: every weight file in them, safetensors all.
    """

    path: Path
    is_plain: bool
    modules: tuple[Path, ...]
    weights: tuple[Path, ...]

    @property
    def weights_sha256(self) -> str:
        """sha256 of the weight file; of several, that of what `sha256sum` prints for them, by path from the folder."""
        if len(self.weights) == 1:
            return _sha256(self.weights[0])
        return self._digest(self.weights)

    @property
    def settings_sha256(self) -> str:
        """The same over all that decides the vectors beside the weights: tokenizer, pooling, lengths, prompts.

        It covers every .json, .txt and .model file beside the weights, so a change that alters no vector may change
        it too.
        """
        folders = dict.fromkeys((self.path, *self.modules))
        files = (file for folder in folders for file in folder.glob("*") if file.suffix in _SETTINGS)
        return self._digest(files)

    def _digest(self, files: Iterable[Path]) -> str:
        lines = sorted((file.relative_to(self.path).as_posix(), _sha256(file)) for file in files)
        return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in lines).encode()).hexdigest()


def inspect(folder: Path) -> ModelFolder:
    """Find the modules and weights of the model in `folder`.

    Raises UserError where weights are absent, not all there, or only to be had by running a pickle.
    """
    if not folder.is_dir():
        raise UserError(f"encoder.path: {folder} is not a folder; give the folder of an encoder, or null")
    listed = _read_json(folder / "modules.json")
    names = [""] if listed is None else _module_paths(listed, folder)
    modules = tuple(dict.fromkeys(folder / name for name in names))
    found = [_weights(module) for module in modules]
    if not found[0]:
        raise UserError(
            f"encoder.path: {modules[0]} holds no model.safetensors; give the folder of an encoder, or null"
        )
    return ModelFolder(folder, listed is None, modules, tuple(file for files in found for file in files))


def _module_paths(listed: object, folder: Path) -> list[str]:
    try:
        names = [module["path"] for module in listed]  # type: ignore[attr-defined]
    except (TypeError, KeyError):
        names = []
    if not names or any(not isinstance(name, str) or ".." in name or name.startswith("/") for name in names):
        raise UserError(f"encoder.path: {folder / 'modules.json'} does not list the folders of a model: fetch it again")
    return names


def _weights(module: Path) -> list[Path]:
    if (module / "model.safetensors").is_file():
        return [module / "model.safetensors"]
    index = module / "model.safetensors.index.json"
    shards = _read_json(index)
    if shards is not None:
        return _shards(shards, index)
    # A module without weights, such as pooling, has none of these either.
    pickle = next((file for pattern in _PICKLES for file in sorted(module.glob(pattern))), None)
    if pickle:
        raise UserError(
            f"encoder.path: {module} holds no model.safetensors, only {pickle.name}, a pickle, which could run any "
            "code: convert it to safetensors, or take a revision that has them"
        )
    return []


def _shards(index: object, path: Path) -> list[Path]:
    try:
        names = sorted(set(index["weight_map"].values()))  # type: ignore[index]
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"encoder.path: {path} does not list the files of a model: fetch it again") from None
    files = [path.parent / str(name) for name in names]
    for file in files:
        if file.parent != path.parent or file.suffix != ".safetensors" or not file.is_file():
            raise UserError(f"encoder.path: {file}, which {path.name} lists, is not there: fetch it again")
    return files


def _read_json(path: Path) -> object | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise UserError(f"encoder.path: {path} is not JSON: fetch it again") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
