"""How unlike two pictures look to a network, place by place: what the mean of its features over a picture cannot see.

The distance is that of LPIPS (Zhang et al. 2018, arXiv 1801.03924, equation 1) with every channel of weight 1, on a
network whose weights are at hand: at each of four scales the channels at a place are brought to length 1, and the
squared differences of two pictures are averaged over the places and added up over the scales.
"""

import torch
from torch import Tensor
from torch.nn import functional

from textbloom.core import runtime
from textbloom.features import efficientnet

NETWORK = "efficientnet-lite2"
SHA256 = efficientnet.VARIANTS[NETWORK].sha256
_SIDE = 128  # pixels to which pictures are resized
_BATCH = 16


@torch.inference_mode()
def vectors(images: Tensor) -> Tensor:
    """Pictures uint8 [N, 3, S, S] to vectors float32 [N, P], whose squared Euclidean distances are the pictures'."""
    device = runtime.device()
    network = efficientnet.scales(NETWORK)[0].to(device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return torch.cat(
            [_flat(network(efficientnet.prepare(batch.to(device), _SIDE))).cpu() for batch in images.split(_BATCH)]
        )


def _flat(scales: list[Tensor]) -> Tensor:
    parts = [functional.normalize(maps, dim=1) / maps[0, 0].numel() ** 0.5 for maps in scales]
    return torch.cat([part.flatten(1) for part in parts], dim=1)
