"""What a text encoder that is trained here must offer, so that one loop, one folder and one measure serve them all."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from torch import Tensor, nn

EMBEDDING_DIM = 1024  # of pictures and texts in their shared space, as published


class Coding(Protocol):
    """How captions become the integers that a network reads, and the network that reads them."""

    @classmethod
    def learn(cls, captions: Sequence[str]) -> Self:
        """The coding of an encoder that is to be trained on `captions`. Raises UserError when they are too few."""
        ...

    @classmethod
    def restore(cls, config: Mapping[str, Any]) -> Self | None:
        """The coding whose `config` this is, or None when this version cannot read it."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """All that `restore` needs, for JSON."""
        ...

    def codes(self, captions: Sequence[str]) -> Tensor:
        """Captions as integers [n, L], row by row."""
        ...

    def network(self) -> nn.Module:
        """A fresh network: codes [B, L] to float32 [B, EMBEDDING_DIM], of any length and sign."""
        ...
