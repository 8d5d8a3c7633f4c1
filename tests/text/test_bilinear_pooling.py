"""Bilinear pooling of a caption's words, by what its source says of it."""

import torch

from textbloom.text.bilinear_pooling import DIM, BilinearPooling


def pooled(words: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    mask = torch.ones(words.shape[:2]) if mask is None else mask
    features = {"token_embeddings": words, "attention_mask": mask}
    return BilinearPooling(words.shape[2])(features)["sentence_embedding"]


def test_dot_products_come_near_the_mean_of_the_words_squared_dot_products():
    # Kar and Karnick 2012: the mean over the signs of (a·x)(b·x)(a·y)(b·y) is (x·y)².
    words = torch.randn(40, 6, 32, generator=torch.Generator().manual_seed(1))
    wanted = torch.einsum("nid,mjd->nimj", words, words).square().mean((1, 3))
    vectors = pooled(words) * 32
    found = vectors @ vectors.T / DIM
    apart = ~torch.eye(40, dtype=torch.bool)
    assert torch.corrcoef(torch.stack([found[apart], wanted[apart]]))[0, 1] > 0.3
    assert abs(found.diagonal().mean() / wanted.diagonal().mean() - 1) < 0.05


def test_the_order_of_words_and_what_is_beyond_the_mask_change_nothing():
    words = torch.randn(3, 5, 16)
    assert torch.allclose(pooled(words.flip(1)), pooled(words), atol=1e-6)
    longer = torch.cat([words, torch.randn(3, 2, 16)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]]).expand(3, -1)
    assert torch.allclose(pooled(longer, mask), pooled(words), atol=1e-6)


def test_the_signs_are_the_same_for_ever():
    left = BilinearPooling(384).left
    assert left.sign().flatten()[:8].tolist() == [1, 1, -1, 1, 1, -1, -1, 1]
    torch.testing.assert_close(left.abs(), torch.full_like(left, 384**-0.5))
