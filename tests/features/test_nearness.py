"""What an epoch is chosen by: its values from their definitions, and the same for the same pictures."""

import pytest
import torch

from textbloom.features.extractor import Features
from textbloom.features.nearness import nearness


def extractor(images, what, hidden=False):
    """Stands for a network: a picture's mean colours."""
    return Features(images.float().mean((2, 3)) / 255, None)


def pictures(seed, count=30, brighter=0):
    stream = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 200, (count, 3, 1, 1), generator=stream) + brighter
    return colours.expand(-1, -1, 4, 4).to(torch.uint8)


def test_the_kernel_distance_is_the_unbiased_one_of_all_pictures():
    fake, real = pictures(1), pictures(2, brighter=55)
    x, y = (extractor(images, "").features.double() for images in (fake, real))

    def kernel(a, b):
        return float((a @ b / 3 + 1) ** 3)

    n = len(x)
    within = sum(kernel(z[i], z[j]) for z in (x, y) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    between = sum(kernel(a, b) for a in x for b in y) / n**2
    assert nearness(extractor, real)(fake)["kernel_distance"] == pytest.approx(within - 2 * between, abs=1e-6)


def test_the_real_pictures_themselves_are_near_in_everything_and_farther_ones_farther():
    real = pictures(2)
    measure = nearness(extractor, real)
    itself, near, far = measure(real), measure(pictures(3)), measure(pictures(3, brighter=55))
    assert itself["kernel_distance"] <= 0 and (itself["precision"], itself["recall"]) == (1, 1)
    assert near["kernel_distance"] < far["kernel_distance"]
    assert measure(pictures(3)) == near
