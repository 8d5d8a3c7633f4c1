"""Whether drawn flowers have the colours that their captions name."""

from pathlib import Path

import pandas as pd
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.metrics import retrieval as alignment
from textbloom.metrics.colours import colour_accuracy
from textbloom.metrics.measures import Compared

NAMES = {"petal_colour": str, "centre_colour": str}


def measure(generated: Tensor, pictures: Compared, attributes: Path, seed: int) -> dict[str, float]:
    """`petal_colour_accuracy` and `centre_colour_accuracy`, each also of the drawn originals and of shuffled captions.

    Args:
        generated: uint8 [n, 3, S, S], each made for the caption of the same row of `pictures`.
        pictures: the originals.
        attributes: the table that the drawing left beside its archives.
        seed: of the shuffle.

    The colour is measured in the picture, without a learned model. `_real` is what the measure itself reaches,
    `_shuffled` what a generator blind to its caption would.
    """
    try:
        table = pd.read_csv(attributes, index_col="image_id", dtype=NAMES, keep_default_na=False)
        table = table.loc[pictures.image_ids]
    except FileNotFoundError:
        raise UserError(f"{attributes} is missing: run `make repro`, which draws it") from None
    except KeyError as error:
        raise UserError(f"{attributes} lacks {error}: delete its folder and run `make repro`") from None
    strangers = alignment.strangers(len(table), seed).tolist()
    metrics = {}
    for which in ("petal", "centre"):
        names = table[f"{which}_colour"].tolist()
        metrics[f"{which}_colour_accuracy"] = colour_accuracy(generated, names, which)
        metrics[f"{which}_colour_accuracy_real"] = colour_accuracy(pictures.images, names, which)
        metrics[f"{which}_colour_accuracy_shuffled"] = colour_accuracy(generated, [names[i] for i in strangers], which)
    return metrics
