"""What the two networks of a system offer the training, whatever they are inside."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

MIDDLE = 1 / 4  # side of the square in the middle of a picture, as a share of the picture's


@dataclass(frozen=True)
class Architecture:
    """What decides the shapes of a system's networks; `model` in params.yaml.

    size: side S of the pictures in pixels.
    embedding_dim: length D of a text embedding.
    noise_dim: length of the noise vector z; a system may take more noise than that (`Generator.noise_dim`).
    features: width F of the narrowest layer.
    text_projection: length P of the projected text.
    discriminator_text: whether the discriminator sees the text.
    text_directions: how many directions of the embeddings a system looks at that looks at such; None: all. 128 is
        what the shipped flowers and other generators look at whose config was written before there was a choice.
    widths: channels of the generator's maps from the smallest on, for a system that takes them; None: by `features`.
    discriminator_features: width of the narrowest layer of a discriminator that has a width of its own.
    backbone: a pretrained network, pictures to feature maps, for a discriminator that judges by one.
    backbone_side: side in pixels to which pictures are resized for it.
    """

    size: int
    embedding_dim: int
    noise_dim: int
    features: int
    text_projection: int
    discriminator_text: bool
    text_directions: int | None = 128
    widths: Sequence[int] | None = None
    discriminator_features: int = 32
    backbone: "Frozen | None" = None
    backbone_side: int = 96


class Generator(nn.Module, ABC):
    """Makes pictures of noise and text. All chance comes in with the noise, of `noise_dim` numbers a picture."""

    noise_dim: int

    @abstractmethod
    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        """Standard normal noise [B, Z] and text embeddings [B, D] to pictures [B, 3, S, S] in [-1, 1]."""

    def with_middle(self, text: Tensor, other: Tensor) -> Tensor:
        """Embeddings [B, D] of captions that describe the picture as `text` does, but its MIDDLE as `other` does.

        NotImplementedError for a generator that does not know which part of an embedding is of which place.
        """
        raise NotImplementedError

    def before_tanh(self, noise: Tensor, text: Tensor) -> Tensor:
        """What `forward` takes the tanh of, [B, 3, S, S], for an objective that keeps it small.

        NotImplementedError for a generator that no such objective trains.
        """
        raise NotImplementedError

    def divergence(self, text: Tensor) -> Tensor:
        """KL divergence of the text's conditioning from a standard normal, a scalar; zero where it is no distribution.

        Its weight is `objective.conditioning_kl`.
        """
        return text.new_zeros(())


class RefiningGenerator(Generator):
    """A second stage: it refines the pictures of the generator `first`, which takes the first part of the noise."""

    first: Generator


class Discriminator(nn.Module, ABC):
    """Judges pictures in two steps, so that the features of one picture can be judged beside several texts."""

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """Pictures [B, 3, S, S] in [-1, 1] to their features at one or several scales, each [B, C, h, w]."""

    @abstractmethod
    def project(self, text: Tensor) -> Tensor | None:
        """Text embeddings [B, D] to what `score` takes; None where the discriminator sees no text."""

    @abstractmethod
    def score(self, features: list[Tensor], text: Tensor | None) -> Tensor:
        """Features and projected text to logits (no sigmoid), [B], or [B, L] where a picture gets several of them.

        A logit above 0 means that the picture is real and matches its text.
        """

    @property
    def logit_weights(self) -> Tensor | None:
        """What each of the L logits counts in a loss, [L]; None where there is one a picture, which counts 1."""
        return None

    def frozen_features(self, images: Tensor) -> list[Tensor]:
        """The part of `features` that training does not change, so that one pass of it may serve several steps.

        The pictures themselves are the last of it, and all of it where no part of the network is frozen.
        """
        return [images]

    def learned_features(self, frozen: list[Tensor]) -> list[Tensor]:
        """The features, of what `frozen_features` gave."""
        return self.features(frozen[0])

    def forward(self, images: Tensor, text: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and features of one pass."""
        features = self.features(images)
        return self.score(features, self.project(text)), features


class Frozen(nn.Module):
    """A pretrained network inside a trained one.

    It moves between devices with the network that holds it, and gradients pass through it to its inputs. But it is not
    trained, it stays in evaluation mode, and `parameters()`, `modules()` and `state_dict()` do not show it: the saved
    state of training would otherwise hold weights that never change. `name` and `sha256` say instead which weights they
    were.
    """

    def __init__(self, network: nn.Module, name: str, sha256: str) -> None:
        super().__init__()
        self.name = name
        self.sha256 = sha256
        # Modules in a tuple are not registered, unlike those that are attributes.
        self._unregistered = (network.eval().requires_grad_(False),)

    @property
    def network(self) -> nn.Module:
        return self._unregistered[0]

    def forward(self, *inputs: Any) -> Any:
        return self.network(*inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        # What `to`, `cuda` and `float` call for every module.
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def pretrained(*networks: nn.Module) -> list[dict[str, str]]:
    """Name and sha256 of every frozen network inside `networks`, sorted by name, each once."""
    frozen = {part.name: part.sha256 for network in networks for part in network.modules() if isinstance(part, Frozen)}
    return [{"name": name, "sha256": frozen[name]} for name in sorted(frozen)]
