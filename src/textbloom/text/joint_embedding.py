"""The symmetric structured joint embedding of pictures and texts.

Reed, Akata, Schiele, Lee, "Learning Deep Representations of Fine-grained Visual Descriptions", 2016, equations 1 to 5,
with every wrong class of the batch in place of the worst one, as their training does.
"""

import torch
from torch import Tensor


def compatibility(pictures: Tensor, texts: Tensor) -> Tensor:
    """F(v, t), the inner product of every picture [P, D] with every text [T, D]: [P, T]."""
    return pictures @ texts.T


def loss(pictures: Tensor, texts: Tensor, margin: float = 1.0) -> Tensor:
    """The symmetric hinge of B pairs of distinct classes, B >= 2; pictures and texts [B, D], row i of one class.

    max(0, margin + F(v_i, t_j) − F(v_i, t_i)) for wrong texts, max(0, margin + F(v_j, t_i) − F(v_i, t_i)) for wrong
    pictures; each averaged over the B (B − 1) pairs j ≠ i, then added. A scalar >= 0.
    """
    count = len(pictures)
    assert count >= 2 and len(texts) == count
    scores = compatibility(pictures, texts)
    right = scores.diagonal()
    wrong = ~torch.eye(count, dtype=torch.bool, device=scores.device)
    wrong_texts = (margin + scores - right[:, None]).relu()
    wrong_pictures = (margin + scores - right[None, :]).relu()
    return ((wrong_texts + wrong_pictures) * wrong).sum() / (count * (count - 1))
