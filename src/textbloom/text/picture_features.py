"""Frozen features of a data set's photos, computed once and kept for the next training.

Captions speak of colours, patterns and shapes, which the last layer of a classifier of objects forgets. So every stage
of EfficientNet-Lite0 is read, and the colours themselves: on the 20 validation classes of Oxford-102 a bag-of-words
encoder reached a zero-shot top-1 of 0.49 with all of it and 0.42 with the last layer alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textbloom.core import kept_results, runtime
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.data import pictures as decoding
from textbloom.data.archives import MEND
from textbloom.data.base import Photo
from textbloom.features import lite0

GROUPS = ("last", "stages", "colours")
NAME = f"{lite0.NAME}, all stages, and colours"
_CHUNK = 8  # photos at once: more leave the CPU's caches, and decoding them keeps a GPU waiting in any case
_MIDDLE = slice(40, 184)  # of 224 pixels: where the subject is
_SHADES = 4  # of each colour channel


class Reader:
    """Reads pictures uint8 [B, 3, 224, 224] into the groups of GROUPS, float32 on the CPU.

    last [B, 1280]: the pooled last layer. stages [B, 1568]: mean and standard deviation over the area of each channel
    that the seven stages put out. colours [B, 64]: roots of the shares that 4×4×4 colours have in the middle; between
    roots, inner products are Bhattacharyya coefficients.
    """

    def __init__(self) -> None:
        self.device = runtime.device()
        extractor = lite0.EfficientNetLite0(lite0.NAME, ["1280"]).eval().to(self.device)
        self._network: Any = extractor.network
        self._maps: list[Tensor] = []
        for stage in self._network.blocks:
            stage.register_forward_hook(lambda module, inputs, output: self._maps.append(output))

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        self._maps.clear()
        last = self._network.forward_features(lite0.prepare(pictures.to(self.device))).mean((2, 3))
        stages = [pooled for maps in self._maps for pooled in (maps.mean((2, 3)), maps.std((2, 3)))]
        return {"last": last.cpu(), "stages": torch.cat(stages, 1).cpu(), "colours": colours(pictures)}


def colours(pictures: Tensor) -> Tensor:
    """The group `colours` of pictures uint8 [B, 3, 224, 224]: float32 [B, 64], rows of length 1."""
    red, green, blue = (pictures[:, :, _MIDDLE, _MIDDLE].long() * _SHADES // 256).flatten(2).unbind(1)
    shades = (red * _SHADES + green) * _SHADES + blue
    counts = torch.stack([row.bincount(minlength=_SHADES**3) for row in shades])
    shares = counts / shades.shape[1]
    return torch.from_numpy(np.sqrt(shares.numpy()))  # exact on every processor; torch's root is MKL's, which is not


def kept(photos: Iterable[Photo], image_ids: Sequence[int], manifest: Path) -> dict[str, Tensor]:
    """What `extract` gives, computed once for the archives that `manifest` describes.

    It takes minutes and depends on nothing that a search for the best training changes: its file outlives the run.
    """
    files = [manifest, *(Path(str(module)) for module in (__file__, decoding.__file__, lite0.__file__))]
    settings = [runtime.machine(runtime.device()), list(image_ids)]
    return kept_results.tensors(lambda: extract(photos, image_ids, Reader()), settings, files)


def extract(photos: Iterable[Photo], image_ids: Sequence[int], reader: Reader) -> dict[str, Tensor]:
    """The groups of each photo, [N, group], in the order of `image_ids`.

    Photos are squeezed to a square, so that nothing is cut off. Raises UserError for a photo that cannot be decoded and
    for an id without a photo.
    """
    rows = {image_id: row for row, image_id in enumerate(image_ids)}
    wanted = (photo for photo in photos if photo.image_id in rows)
    order: list[int] = []
    found: list[dict[str, Tensor]] = []
    with progress(None, "picture features", "photos", len(rows)) as bar:
        for chunk in _chunks(wanted):
            pictures = np.stack([decoding.decode(photo, lite0.SIDE) for photo in chunk])
            found.append(reader(torch.from_numpy(pictures)))
            order += [rows[photo.image_id] for photo in chunk]
            bar.update(len(chunk))
    missing = sorted(set(range(len(rows))) - set(order))
    if missing:
        raise UserError(f"captions.csv names image {image_ids[missing[0]]}, but the archive has no photo of it: {MEND}")
    places = torch.tensor(order).argsort()
    return {group: torch.cat([part[group] for part in found])[places] for group in GROUPS}


def _chunks(photos: Iterator[Photo]) -> Iterator[list[Photo]]:
    while chunk := list(islice(photos, _CHUNK)):
        yield chunk
