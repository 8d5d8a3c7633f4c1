"""Frozen features of a data set's photos, which the text encoders that are trained here learn from.

Captions speak of colours, patterns and shapes, which the last layer of a classifier of objects loses. So every stage of
EfficientNet-Lite0 is read, and the colours themselves: on the 20 validation classes of Oxford-102 a bag-of-words
encoder reached a zero-shot top-1 of 0.49 with all of it and 0.42 with the last layer alone.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.features import efficientnet

NETWORK = "efficientnet-lite0"
SIDE = efficientnet.VARIANTS[NETWORK].side  # of the photos, in pixels
# What the features say of themselves, beside the tensors.
METADATA: dict[str, Any] = {
    "picture_features": f"{NETWORK}, all stages, and colours",
    "pretrained": [{"name": NETWORK, "sha256": efficientnet.VARIANTS[NETWORK].sha256}],
}
_BATCH = 8  # photos; more do not fit a CPU's caches, and a GPU waits for the decoding in any case
_MIDDLE = slice(40, 184)  # of 224 pixels: where the subject is
_LEVELS = 4  # of each colour channel


@torch.inference_mode()
def read(network: Any, photos: Tensor) -> dict[str, Tensor]:
    """What EfficientNet-Lite0 and the colours tell of photos uint8 [B, 3, 224, 224], float32 on the CPU.

    last [B, 1280]: the pooled last layer. stages [B, 1568]: mean and standard deviation over the area of each channel
    that the seven stages put out. colours [B, 64]: as `colours` gives them.
    """
    device = next(network.parameters()).device
    maps = efficientnet.stages(network, efficientnet.prepare(photos.to(device), SIDE))
    last = network.bn2(network.conv_head(maps[-1])).mean((2, 3))
    moments = [moment for stage in maps for moment in (stage.mean((2, 3)), stage.std((2, 3)))]
    return {"last": last.cpu(), "stages": torch.cat(moments, 1).cpu(), "colours": colours(photos)}


def colours(photos: Tensor) -> Tensor:
    """The square roots of the shares that 4×4×4 colours have in the middle of photos uint8 [B, 3, 224, 224].

    Returns float32 [B, 64], rows of length 1. Inner products of such rows are Bhattacharyya coefficients.
    """
    red, green, blue = (photos[:, :, _MIDDLE, _MIDDLE].long() * _LEVELS // 256).flatten(2).unbind(1)
    bins = (red * _LEVELS + green) * _LEVELS + blue
    counts = torch.stack([row.bincount(minlength=_LEVELS**3) for row in bins])
    shares = counts / bins.shape[1]
    # numpy's root is exact on every processor; torch's is MKL's, which is not.
    return torch.from_numpy(np.sqrt(shares.numpy()))


def extract(photos: Iterable[tuple[int, np.ndarray]], image_ids: Sequence[int]) -> dict[str, Tensor]:
    """The groups of `read` of each photo, each [N, F], in the order of `image_ids`.

    photos: image ids, in any order, each with its photo, uint8 [3, 224, 224] and squeezed to a square, so that nothing
    is cut off. Raises UserError where an id has no photo.
    """
    network = efficientnet.network(NETWORK).to(runtime.device())
    remaining = iter(photos)
    row: dict[int, int] = {}
    found: list[dict[str, Tensor]] = []
    with progress(None, "photo features", "photos", len(image_ids)) as bar:
        while batch := list(islice(remaining, _BATCH)):
            row |= {image_id: len(row) + index for index, (image_id, _) in enumerate(batch)}
            found.append(read(network, torch.from_numpy(np.stack([photo for _, photo in batch]))))
            bar.update(len(batch))
    missing = [image_id for image_id in image_ids if image_id not in row]
    if missing:
        raise UserError(f"captions.csv names image {missing[0]}, but there is no photo of it: run `make repro`")
    rows = [row[image_id] for image_id in image_ids]
    return {group: torch.cat([part[group] for part in found])[rows] for group in found[0]}
