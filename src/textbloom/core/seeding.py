"""Randomness by purpose: every random choice has a generator of its own, named by what it is for."""

import hashlib

import torch


def seed_for(seed: int, purpose: str, index: int = 0) -> int:
    """A 63-bit seed for one purpose ("order", "noise", ...) and index (epoch, step, ...).

    Streams of different purposes or indices are unrelated, so changing how one is used leaves the others as they were,
    and a resumed run needs no generator's state: only the index.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device`, seeded by `seed_for`."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, index))


def random_subset(count: int, wanted: int, seed: int, purpose: str, index: int = 0) -> torch.Tensor:
    """`wanted` of `count` indices, a seeded choice without repeats, in random order."""
    return torch.randperm(count, generator=generator_for(seed, purpose, index))[:wanted]


def derangement(count: int, seed: int, purpose: str) -> torch.Tensor:
    """A seeded random permutation of `count` ≥ 2 items that leaves none in its place, int64 [count]."""
    order = torch.randperm(count, generator=generator_for(seed, purpose))
    # Along the random order each item gets the one before it, the first one the last.
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner
