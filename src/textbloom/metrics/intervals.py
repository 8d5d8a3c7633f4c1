"""How far a value would move with other pictures: 95% intervals by resampling the pictures it was computed from.

They say how sure a value is of this generator on this split, with these n pictures. They do not hold what another
training run of the same system would give: for that, train several seeds.
"""

import torch

from textbloom.core.seeding import generator_for
from textbloom.metrics.evaluation import Estimate

RESAMPLES = 200
MOST = 500  # pictures in a part without repeats: distances between more of them take long
Z = 1.959964  # a normal variable is within this many standard deviations in 95% of the cases


def interval(estimate: Estimate, seed: int) -> tuple[float, float]:
    """The value minus and plus 1.96 standard errors.

    A mean's standard error is the spread over bootstrap samples (Efron 1979): n places drawn with repeats. Of values
    that compare pictures with one another it is estimated from random parts of m pictures without repeats, the
    delete-d jackknife (Shao & Wu 1989, Annals of Statistics 17, 1176): the spread over parts times √(m / (n − m)).
    """
    n = estimate.count
    m = n if estimate.repeats else min(n // 2, MOST)
    scale = 1.0 if estimate.repeats else (m / (n - m)) ** 0.5
    stream = generator_for(seed, "resampled pictures")
    found = [
        estimate.of(
            torch.randint(n, (n,), generator=stream) if estimate.repeats else torch.randperm(n, generator=stream)[:m]
        )
        for _ in range(RESAMPLES)
    ]
    error = scale * float(torch.tensor(found, dtype=torch.float64).std())
    return estimate.value - Z * error, estimate.value + Z * error
