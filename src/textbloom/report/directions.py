"""What the numbers of metrics/eval.json mean: which way is better, and which of them only say how to read another.

A new metric joins the table here; a test fails for a number that is not in it. Reports take every arrow from here.
"""

from collections.abc import Mapping
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

SELF_JUDGED = "_selfjudged"  # ends the name of a value that a network gave which also trained the pictures


class Kind(Enum):
    HIGHER = "higher is better"
    LOWER = "lower is better"
    REFERENCE = "says how to read another value"
    CONDITION = "how it was measured"


class Measure(NamedTuple):
    kind: Kind
    meaning: str


# Patterns of names; the first that fits counts.
MEASURES = {
    "n_*": Measure(Kind.CONDITION, "number of pictures"),
    # What values are read against.
    "*_real": Measure(Kind.REFERENCE, "the same for real pictures: the ceiling"),
    "*_shuffled": Measure(Kind.REFERENCE, "the same with shuffled captions: chance"),
    "*_std": Measure(Kind.REFERENCE, "standard deviation over subsets"),
    "*floor": Measure(Kind.REFERENCE, "Fréchet distance between two sets of real pictures: the best to be expected"),
    "class_gap": Measure(Kind.REFERENCE, "Fréchet distance of real pictures of other classes"),
    # Results.
    "frechet_distance": Measure(Kind.LOWER, "distance between generated and real pictures in feature space"),
    "kernel_distance": Measure(Kind.LOWER, "distance of generated from real pictures by an unbiased kernel estimate"),
    "inception_score": Measure(Kind.HIGHER, "confident and varied classes, by Inception's logits"),
    "logit_entropy_score": Measure(Kind.HIGHER, "confident and varied classes, by the logits of another judge"),
    "precision": Measure(Kind.HIGHER, "share of generated pictures that lie among the real ones"),
    "recall": Measure(Kind.HIGHER, "share of real pictures that lie among the generated ones"),
    "retrieval_at_1": Measure(Kind.HIGHER, "how often the own caption is the nearest of 100"),
    "retrieval_at_10": Measure(Kind.HIGHER, "how often the own caption is among the 10 nearest of 100"),
    "*_colour_accuracy": Measure(Kind.HIGHER, "how often the part has the colour that its caption names"),
    "*diversity*": Measure(Kind.HIGHER, "distance between pictures of one caption, over that of real ones"),
    "petal_number_distance": Measure(Kind.LOWER, "how unlike the numbers of petals are spread, generated and real"),
    "memorisation": Measure(Kind.LOWER, "share of generated pictures nearer to training than 95% of real new ones"),
    "nearest_training": Measure(Kind.REFERENCE, "median distance to the nearest training picture"),
    # How it was measured.
    "image_size": Measure(Kind.CONDITION, "side in pixels"),
    "reduced_from": Measure(Kind.CONDITION, "side of the prepared pictures, where they are larger"),
    "seed": Measure(Kind.CONDITION, "seed of noise and choices"),
    "split": Measure(Kind.CONDITION, "whose pictures and captions are compared"),
    "train_splits": Measure(Kind.CONDITION, "whose pictures training learned from"),
    "extractor": Measure(Kind.CONDITION, "network that judges the pictures"),
    "layer": Measure(Kind.CONDITION, "its feature layer"),
    "*encoder*": Measure(Kind.CONDITION, "network that reads the captions"),
}


def measure(name: str) -> Measure | None:
    """The entry of a name of metrics/eval.json; None for one that the table does not know."""
    plain = name.removesuffix(SELF_JUDGED)
    return next((entry for pattern, entry in MEASURES.items() if fnmatchcase(plain, pattern)), None)


def is_condition(name: str) -> bool:
    """Whether a value tells how was measured, rather than what."""
    entry = measure(name)
    return entry is not None and entry.kind is Kind.CONDITION


def gain(name: str, old: Any, new: Any) -> float | None:
    """By how much `new` is better than `old` (negative: worse); None where neither way is better."""
    entry = measure(name)
    if entry is None or not (_number(old) and _number(new)):
        return None
    return {Kind.HIGHER: new - old, Kind.LOWER: old - new}.get(entry.kind)


def changed_conditions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The conditions that differ between two evaluations, sorted: with any of them, their values do not compare."""
    return sorted(name for name in {*old, *new} if is_condition(name) and old.get(name) != new.get(name))


def references(name: str, values: Mapping[str, Any]) -> tuple[Any, Any]:
    """Chance and the best to be expected, which a metric is read against; None for what was not measured."""
    plain = name.removesuffix(SELF_JUDGED)
    ending = name[len(plain) :]
    best = f"{plain}_real{ending}"
    if plain == "frechet_distance":
        best = next((floor for floor in (f"floor{ending}", "floor") if floor in values), best)
    return values.get(f"{plain}_shuffled{ending}"), values.get(best)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
