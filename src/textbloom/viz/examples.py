"""The captions that the sheets show: held-out ones, or, where none were held out, ones that training saw."""

from dataclasses import dataclass

import torch
from torch import Tensor

from textbloom.core.seeding import generator_for
from textbloom.dataset.eval_split import EvalSplit


@dataclass(frozen=True)
class Examples:
    """n captions, their embeddings float32 [n, D] and their own real pictures uint8 [n, 3, S, S].

    seen: whether training saw them.
    """

    captions: list[str]
    embeddings: Tensor
    images: Tensor
    seen: bool = False

    def __len__(self) -> int:
        return len(self.captions)

    def first(self, count: int) -> "Examples":
        """The first `count` of them, or all where there are fewer."""
        return Examples(self.captions[:count], self.embeddings[:count], self.images[:count], self.seen)


def choose(judged: EvalSplit, count: int, seed: int) -> Examples:
    """At most `count` first captions of pictures, no text twice, as many classes as possible before one comes again."""
    pictures = judged.pictures
    captions = pictures.first_captions
    shuffled = torch.randperm(len(captions), generator=generator_for(seed, "shown captions")).tolist()
    turns: dict[int, int] = {}
    seen: set[str] = set()
    candidates: list[tuple[int, int]] = []
    for index in shuffled:
        if captions[index] not in seen:
            seen.add(captions[index])
            class_id = int(pictures.class_ids[index])
            turns[class_id] = turns.get(class_id, -1) + 1
            candidates.append((turns[class_id], index))
    # The sort is stable: within a turn the order stays shuffled.
    chosen = [index for _, index in sorted(candidates, key=lambda candidate: candidate[0])[:count]]
    own = [captions[i] for i in chosen]
    return Examples(own, pictures.first_embeddings[chosen], pictures.images[chosen], judged.seen)
