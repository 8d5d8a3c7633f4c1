"""What a text encoder learns from and is judged by: pictures' features, their classes and their captions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """The pictures of some splits.

    features: groups of `picture_features`, each [N, F]. classes: int64 [N], class ids.
    captions: R of them. caption_pictures: int64 [R], each caption's picture, a row of each group.
    """

    features: Mapping[str, Tensor]
    classes: Tensor
    captions: list[str]
    caption_pictures: Tensor

    @property
    def caption_classes(self) -> Tensor:
        """int64 [R]."""
        return self.classes[self.caption_pictures]


def select(
    rows: pd.DataFrame, image_ids: Sequence[int], features: Mapping[str, Tensor], splits: Collection[str]
) -> Part:
    """The part of `splits`, which may be empty.

    rows: captions.csv. features: each group [M, F], in the order of `image_ids`, ascending, all those of `rows`.
    """
    kept = rows[rows["split"].isin(list(splits))]
    ids, first = np.unique(kept["image_id"].to_numpy(), return_index=True)
    places = torch.from_numpy(np.searchsorted(image_ids, ids))
    return Part(
        {group: values[places] for group, values in features.items()},
        torch.from_numpy(kept["class_id"].to_numpy(dtype=np.int64)[first]),
        kept["caption"].tolist(),
        torch.from_numpy(np.searchsorted(ids, kept["image_id"].to_numpy())),
    )
