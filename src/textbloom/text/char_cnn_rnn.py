"""The char-CNN-RNN text encoder: characters through convolutions, then a simple recurrent layer.

Zhang, Zhao, LeCun, "Character-level Convolutional Networks for Text Classification", 2015 (alphabet, one-hot coding);
Reed, Akata, Schiele, Lee, "Learning Deep Representations of Fine-grained Visual Descriptions", 2016 (the network).
"""

from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from textbloom.text.base import TrainedNetwork
from textbloom.text.joint_embedding import EMBEDDING_DIM
from textbloom.text.reading import Reading

# As published: 70 characters, the hyphen twice. Of its two channels the later one is used, so the other stays zero.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{} "
LENGTH = 200  # characters read of a caption; Reed et al. read 201, which gives the same 8 steps
_REACH = 192  # of these decide the vector: convolutions and pooling without padding leave the last ones out

_UNKNOWN = len(ALPHABET)  # the token of what has no channel: characters outside the alphabet, and padding
_TOKENS = {character: token for token, character in enumerate(ALPHABET)}
_THRESHOLD = 1e-6  # activations up to this become 0: the rectifier of Lua Torch, which the original was written in


def tokenize(captions: Sequence[str], length: int = LENGTH) -> Tensor:
    """Captions as tokens uint8 [n, length]: a character's channel, or 70 where it has none.

    Captions are lower-cased, cut at `length` and padded at the end.
    """
    rows = torch.full((len(captions), length), _UNKNOWN, dtype=torch.uint8)
    for row, caption in zip(rows, captions, strict=True):
        known = [_TOKENS.get(character, _UNKNOWN) for character in caption.lower()[:length]]
        row[: len(known)] = torch.tensor(known, dtype=torch.uint8)
    return rows


def one_hot(tokens: Tensor) -> Tensor:
    """Tokens [n, L] as float32 [n, 70, L]: one channel a character is 1; all are 0 where the token is 70."""
    return functional.one_hot(tokens.long(), _UNKNOWN + 1)[..., :_UNKNOWN].transpose(1, 2).float()


class CharCnnRnn(TrainedNetwork):
    """Tokens [B, 200 or 201] to embeddings float32 [B, 1024], of any length and sign. 2,994,560 parameters.

    Three convolutions with max pooling leave 8 steps of 512 channels; the recurrent layer's states are averaged.
    """

    limit = f"{_REACH} characters"

    def __init__(self) -> None:
        super().__init__()
        self.arguments = {}
        self.convolutions = nn.Sequential(
            nn.Conv1d(len(ALPHABET), 384, 4),
            nn.Threshold(_THRESHOLD, 0.0),
            nn.MaxPool1d(3, 3),
            nn.Conv1d(384, 512, 4),
            nn.Threshold(_THRESHOLD, 0.0),
            nn.MaxPool1d(3, 3),
            nn.Conv1d(512, 512, 4),
            nn.Threshold(_THRESHOLD, 0.0),
            nn.MaxPool1d(3, 2),
        )
        self.input_to_hidden = nn.Linear(512, 512)
        self.hidden_to_hidden = nn.Linear(512, 512)
        self.output = nn.Linear(512, EMBEDDING_DIM)

    @classmethod
    def fit(cls, captions: Sequence[str]) -> Self:
        """The alphabet and the length are as published, whatever the captions."""
        return cls()

    def tokens(self, captions: Sequence[str]) -> Tensor:
        return tokenize(captions)

    def read(self, captions: Sequence[str]) -> Iterator[Reading]:
        for caption, row in zip(captions, self.tokens(captions), strict=True):
            letters, cut = caption.lower()[:_REACH], caption.lower()[_REACH:]
            unknown = tuple(letter for letter in dict.fromkeys(letters) if letter not in _TOKENS)
            yield Reading(row[:_REACH].numpy().tobytes(), cut, unknown, set(letters) <= {" ", *unknown})

    def forward(self, tokens: Tensor) -> Tensor:
        steps = self.input_to_hidden(self.convolutions(one_hot(tokens)).transpose(1, 2)).unbind(1)
        # The first step has no state before it: not even the bias of hidden_to_hidden.
        states = [functional.relu(steps[0])]
        for step in steps[1:]:
            states.append(functional.relu(step + self.hidden_to_hidden(states[-1])))
        return self.output(torch.stack(states).mean(0))
