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
