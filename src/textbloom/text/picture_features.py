"""Frozen features of a data set's photos, computed once and kept for the next training."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from textbloom import paths
from textbloom.datasets import pictures as decoding
from textbloom.datasets.archives import MEND
from textbloom.datasets.base import Photo
from textbloom.errors import UserError
from textbloom.evaluation.extractors import Extractor
from textbloom.progress import progress
from textbloom.tensors import load_tensors, save_tensors
from textbloom.training import state

SIDE = 224  # pixels; what the photos keep of their detail is not bounded by images.size
_CHUNK = 8  # photos at once: more leave the CPU's caches, and decoding them keeps a GPU waiting in any case


def kept(photos: Iterable[Photo], image_ids: Sequence[int], extractor: Extractor, manifest: Path) -> Tensor:
    """What `extract` gives, computed once for the archives that `manifest` describes.

    It takes minutes and depends on nothing that a search for the best training changes: its file outlives the run.
    """
    network, layer = extractor.network.get_name(), extractor.layer
    settings = [network, layer, str(extractor.device), torch.__version__, list(image_ids)]
    name = state.fingerprint(settings, [manifest, Path(__file__), Path(decoding.__file__)])
    path = Path(os.environ.get("DVC_ROOT", ".")) / paths.RESUME.parent / "picture-features" / f"{name}.safetensors"
    if not path.exists():
        save_tensors(path, {"features": extract(photos, image_ids, extractor)})
    return load_tensors(path)["features"]


def extract(photos: Iterable[Photo], image_ids: Sequence[int], extractor: Extractor) -> Tensor:
    """Features of each photo and of its mirror image, float32 [2, N, F], in the order of `image_ids`.

    Photos are squeezed to a square, so that nothing is cut off. Raises UserError for a photo that cannot be decoded and
    for an id without a photo.
    """
    rows = {image_id: row for row, image_id in enumerate(image_ids)}
    wanted = (photo for photo in photos if photo.image_id in rows)
    found: dict[int, Tensor] = {}
    with progress(None, "picture features", "photos", len(rows)) as bar:
        for chunk in _chunks(wanted):
            pictures = torch.from_numpy(np.stack([decoding.decode(photo, SIDE) for photo in chunk]))
            views = torch.stack([_features(extractor, pictures), _features(extractor, pictures.flip(-1))], dim=1)
            found.update({photo.image_id: both for photo, both in zip(chunk, views, strict=True)})
            bar.update(len(chunk))
    missing = rows.keys() - found.keys()
    if missing:
        raise UserError(f"captions.csv names image {min(missing)}, but the archive has no photo of it: {MEND}")
    return torch.stack([found[image_id] for image_id in image_ids], dim=1)


@torch.inference_mode()
def _features(extractor: Extractor, pictures: Tensor) -> Tensor:
    layers = extractor.network(pictures.to(extractor.device))
    return extractor.network.convert_features_tuple_to_dict(layers)[extractor.layer].cpu()


def _chunks(photos: Iterator[Photo]) -> Iterator[list[Photo]]:
    while chunk := list(islice(photos, _CHUNK)):
        yield chunk
