"""Frozen sentence encoders that others have trained: captions to vectors, from pinned weights."""

import os
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.text import hub
from textbloom.text.base import TextEncoder
from textbloom.text.bilinear_pooling import BilinearPooling
from textbloom.text.model_folder import ModelFolder, inspect
from textbloom.text.reading import Reading

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ACCENTED = re.compile(r"\w[\u0300-\u036f]+")  # in a decomposed text
_TOKENIZED_AT_ONCE = 1024  # captions; they are padded to the longest among them
# The least share of a model's tokens that its tokenizer has: models round their number up, by 2 % at most.
_FITTING = 0.97
# What loading makes of files that are no encoder's.
_UNFIT = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError, SafetensorError)


@dataclass(frozen=True)
class PretrainedEncoder(TextEncoder):
    """A loaded encoder.

    metadata: name, revision (or "local"), sha256 of its weights, settings_sha256 of tokenizer and pooling, precision
    (fp32 | bf16), and bilinear_layers where its own pooling is not used.
    """

    model: Any
    metadata: dict[str, Any]

    @property
    def limit(self) -> str:
        return f"{self.model.max_seq_length} tokens"

    def encoded(self, captions: list[str], batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        """A batch holds captions of one number of tokens, so that nothing is padded.

        No time goes into padding, and no vector depends on its neighbours but by the rounding of another batch size.
        """
        for same_length in self._by_length(captions):
            for start in range(0, len(same_length), batch_size):
                batch = same_length[start : start + batch_size]
                vectors = self.model.encode(
                    batch, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
                )
                yield batch, vectors

    def read(self, captions: Sequence[str]) -> Iterator[Reading]:
        tokenizer = self.model.tokenizer
        if not getattr(tokenizer, "is_fast", False):  # only such a one says from where in the caption a token is
            yield from super().read(captions)
            return
        room = (self.model.max_seq_length or sys.maxsize) - tokenizer.num_special_tokens_to_add()
        for start in range(0, len(captions), _TOKENIZED_AT_ONCE):
            some = list(captions[start : start + _TOKENIZED_AT_ONCE])
            whole = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
            found = tokenizer(some, return_offsets_mapping=True, **whole)
            for caption, tokens, places in zip(some, found["input_ids"], found["offset_mapping"], strict=True):
                read = zip(tokens[:room], places[:room], strict=True)
                unknown = [caption[first:last] for token, (first, last) in read if token == tokenizer.unk_token_id]
                yield Reading(
                    tokens=tuple(tokens[:room]),
                    cut=caption[places[room][0] :] if len(tokens) > room else "",
                    unknown=(*unknown, *_without_accent(caption, tokenizer.backend_tokenizer.normalizer)),
                    blank=len(unknown) == len(tokens[:room]),
                )

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
    name: str,
    revision: str | None = None,
    path: str | None = None,
    precision: str = "fp32",
    source: str = "hub",
    bilinear_layers: int | None = None,
) -> PretrainedEncoder:
    """Load an encoder: from the folder `path` if given, else by `name`, downloaded where it is not installed.

    name: one of `hub.ENCODERS`, or "org/name" on the model hub, which needs `revision`, a commit. With `path` it only
    labels the result. A folder without modules.json is a plain language model: its token vectors are averaged.
    precision: fp32; bf16 (weights and activations of the language model; pooling stays float32); auto: bf16 on a GPU
    that computes in it, else fp32, so that machines without a GPU agree.
    source: hub; packages: from the package index, for machines that reach no other place.
    bilinear_layers: None: vectors as the encoder gives them; else bilinear pooling of its words after so many of its
        layers. The middle ones know best which word belongs to which (Tenney et al. 2019, arXiv 1905.05950), which the
        last give up for what a sentence is about.

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
    if precision == "auto":
        precision = "bf16" if on.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"
    metadata = {
        "name": name,
        "revision": commit,
        "sha256": digest,
        "settings_sha256": folder.settings_sha256,
        "precision": precision,
        **({"bilinear_layers": bilinear_layers} if bilinear_layers else {}),
    }
    model = _load(folder, on, _DTYPES[precision])
    if bilinear_layers:
        _pool_bilinearly(model, bilinear_layers)
    return PretrainedEncoder(model, metadata)


def _load(folder: ModelFolder, on: torch.device, dtype: torch.dtype) -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from sentence_transformers import SentenceTransformer

    # Without dtype a checkpoint stored in float16 would be computed in it.
    weights = {"use_safetensors": True, "dtype": dtype, "local_files_only": True}
    try:
        model = SentenceTransformer(str(folder.path), device=str(on), local_files_only=True, model_kwargs=weights)
        if model.transformers_model is not None:  # otherwise it is one of word vectors
            _refuse_unfilled(model, folder, weights)
            _refuse_strange_tokenizer(model)
    except _UNFIT as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder.path} is not the folder of an encoder ({reason}): correct encoder.path") from None
    model.eval()
    model[0].register_forward_hook(_widen)
    return model


def _refuse_unfilled(model: Any, folder: ModelFolder, weights: dict[str, Any]) -> None:
    """Raise ValueError where the file lacks a weight of the model: the library would leave it random."""
    _, report = type(model.transformers_model).from_pretrained(folder.modules[0], output_loading_info=True, **weights)
    # The pooler after the last layer is no part of a sentence vector; a masked language model comes without.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ValueError(f"its weights lack {missing[0]}")


def _refuse_strange_tokenizer(model: Any) -> None:
    """Raise ValueError where the tokenizer is another model's; where its files are missing, the library makes one."""
    has, needs = len(model.tokenizer), model.transformers_model.get_input_embeddings().num_embeddings
    if not _FITTING * needs <= has <= needs:
        raise ValueError(
            f"its tokenizer has {has} tokens where the model has {needs}: tokenizer.json or what is in its place, such "
            "as vocab.txt, is missing or another model's"
        )


def _pool_bilinearly(model: Any, layers: int) -> None:
    """Drop all but the first `layers` of the language model, and all modules after it for bilinear pooling."""
    language_model = model.transformers_model
    deep = language_model.config.num_hidden_layers if language_model is not None else 0
    if layers > deep:
        raise UserError(f"encoder.bilinear_layers: {layers} are more than the {deep} layers that the encoder has")
    # The one list of modules that is as long as the model has layers: libraries name it in several ways.
    stack = next(m for m in language_model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == deep)
    del stack[layers:]
    del model[1:]
    model.append(BilinearPooling(language_model.config.hidden_size).to(model.device))


def _without_accent(caption: str, normalizer: Any) -> list[str]:
    """The letters of which the tokenizer reads only the one below the accent."""
    accented = _ACCENTED.findall(unicodedata.normalize("NFD", caption.lower()))
    read = unicodedata.normalize("NFD", normalizer.normalize_str(caption) if normalizer else caption).lower()
    return [unicodedata.normalize("NFC", letter) for letter in accented if letter not in read]


def _widen(_module: Any, _inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    """Token vectors in float32, so that averaging and normalising round nothing to bfloat16."""
    if "token_embeddings" in features:
        features["token_embeddings"] = features["token_embeddings"].float()
    return features
