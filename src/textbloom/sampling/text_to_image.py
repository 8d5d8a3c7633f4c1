"""Sentences to pictures: a trained generator together with the encoder that it was trained with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.core.trained_folder import Weights
from textbloom.sampling.generator import load_generator
from textbloom.text import TextEncoder

_BATCH = 64  # sentences that are encoded at once


class TextToImage:
    """Pictures of sentences by the generator of a trained folder."""

    def __init__(self, folder: Path, encoder: TextEncoder, weights: Weights = "ema") -> None:
        """Open the trained folder, its averaged ("ema"), raw or best weights.

        Raises UserError for a folder that is missing or damaged, and for an encoder other than the one whose embeddings
        the generator was trained on.
        """
        self.generator = load_generator(folder, weights)
        trained_with = self.generator.config["encoder"]
        for key, what in (("sha256", "weights"), ("bilinear_layers", "encoder.bilinear_layers")):
            if encoder.metadata.get(key) != trained_with.get(key):
                raise UserError(
                    f"encoder: the generator was trained with {trained_with['name']} of other {what}; set it back in "
                    "params.yaml or run `make repro`"
                )
        self.encoder = encoder

    def pictures(self, sentences: Sequence[str], seed: int, count: int = 1) -> Tensor:
        """`count` pictures of each sentence, sentence by sentence, uint8 [len(sentences) * count, 3, S, S].

        `seed` decides the noise. Raises UserError for an empty sentence.
        """
        embeddings = self.embeddings(sentences).repeat_interleave(count, dim=0)
        return self.generator.sample(embeddings, self.generator.noise(len(embeddings), seed))

    def one_by_one(self, sentences: Sequence[str], seed: int, count: int) -> Iterator[tuple[int, str, Tensor]]:
        """The same pictures in the same order, made as they are asked for: number, sentence, uint8 [3, S, S]."""
        noise = self.generator.noise(len(sentences) * count, seed)
        for index, (sentence, embedding) in enumerate(zip(sentences, self.embeddings(sentences), strict=True)):
            own = noise[index * count : (index + 1) * count]
            drawn = self.generator.sample(embedding.expand(count, -1), own)
            for number, picture in enumerate(drawn, index * count):
                yield number, sentence, picture

    def embeddings(self, sentences: Sequence[str]) -> Tensor:
        """What the generator takes for each sentence, [len(sentences), D].

        What the encoder does not read of them is told on stderr. Raises UserError for an empty sentence, and as
        `TextEncoder.check` does.
        """
        if not all(sentence.strip() for sentence in sentences):
            raise UserError("text: an empty sentence describes no flower; write one, such as 'a pink flower'")
        self.encoder.check(sentences, refuse_unknown=True)
        return self.encoder.encode(list(sentences), _BATCH)
