"""Linear layers as the CPU computes them fastest: by oneDNN, with the weights laid out for it beforehand.

torch's own float32 product on the CPU is MKL's, which leaves half of some processors unused (on an AMD EPYC with
AVX-512, 200 of 460 GFLOP/s); oneDNN's differs from it by rounding only. In bfloat16 both are oneDNN, and the layout
alone gains a tenth to a quarter. torch's compiler makes the same replacement when it freezes a model.
"""

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """An nn.Linear for inference on the CPU: [..., in] to [..., out], in the type of its weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        # Neither a parameter nor a buffer: nothing that walks over those can read the packed layout.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack_linears(model: nn.Module) -> None:
    """Replace every nn.Linear below `model`, on the CPU; nothing is done without oneDNN or where it is off."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return
    for name, child in model.named_children():
        if type(child) is nn.Linear:
            setattr(model, name, PackedLinear(child))
        else:
            pack_linears(child)
