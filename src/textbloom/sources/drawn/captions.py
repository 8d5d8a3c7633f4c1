"""Captions of a drawn flower: sentences grown from a small grammar, in the manner of people describing a photo."""

import re

import numpy as np

from textbloom.sources.drawn.attributes import Flower

CAPTIONS = 10  # of each image

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNTED = 12  # more petals than this are "many"

# <x> is replaced by one of the alternatives of x, {x} by a word of the flower. `both` names petals and centre colour,
# `petals` the petals alone; the other rules are their parts.
_GRAMMAR: dict[str, tuple[str, ...]] = {
    "both": (
        "<this> has <petals-of> <with> <centre-end>",
        "<this> has <petals-of> and <centre-end>",
        "<this> has {petal} petals that <surround> <centre-end>",
        "<this> has {petal} petals with <tips> and <centre-end>",
        "<this> is {petal} with <centre>, and has petals that are <formed>",
        "<this> is {petal} in color, with <centre-end>",
        "<the-petals> are <shade> {petal} and the <middle> is {centre}",
        "<the-petals> are <shade> {petal} and <formed>, and there is <centre-end>",
        "<the-petals> are {petal} and <surround> <centre-end>",
        "<a-flower> <petals-of> <with> <centre-end>",
        "a <look> {petal} flower with <centre-end>",
        "a {petal} flower with <form> petals and <centre-end>",
        "<form> {petal} petals <surround> <centre-end>",
        "<form> {petal} petals and <centre-end>",
        "<centre> is surrounded by <form> {petal} petals",
        "<centre> sits among {petal} petals that are <formed>",
        "there is <centre> with {petal} petals around it",
        "i see a flower with <petals-of> and <centre-end>",
        "what a <look> flower, its petals are {petal} and its <middle> is {centre}",
        "the <middle> of <this> is {centre} and the petals are <shade> {petal}",
        "from <centre> spread <form> petals of {petal}",
        "this {petal} flower has <centre> and <form> petals",
        "this <look> flower has {petal} petals with <centre-end>",
        "{petal} flower, {centre} <middle>, <form> petals",
        "the {centre} <middle> <stands-out> the {petal} petals of this flower",
    ),
    "petals": (
        "<this> has petals that are <shade> {petal} <and-form>",
        "<this> has <petals-of>",
        "<this> is {petal} in color, with <form> petals",
        "<the-petals> are {petal} with <tips>",
        "<a-flower> petals that are {petal} and <formed>",
        "the <look> flower has {petal} petals <in-layers>",
        "a {petal} flower <in-front-of>",
        "the <form> petals of this flower are <shade> {petal}",
    ),
    "petals-of": (
        "petals that are {petal} <and-form>",
        "petals that are <shade> {petal} <and-form>",
        "<form> petals that are {petal}",
        "<form> {petal} petals",
        "{number} {petal} petals",
        "{number} <form> {petal} petals",
        "{petal} petals <in-layers>",
        "<layers-of> {petal} petals",
    ),
    "centre": (
        "a {centre} <middle>",
        "a {size} {centre} <middle>",
        "a <texture> {centre} <middle>",
        "a <middle> that is {centre}",
    ),
    "centre-end": ("<centre>", "<centre>", "<centre>", "a {centre} <middle> <and-stamens>"),
    "middle": ("center", "center", "center", "middle", "centre", "pistil", "disc"),
    "this": ("this flower", "this flower", "this flower", "the flower", "this <look> flower", "the flower shown"),
    "the-petals": ("the petals of this flower", "the petals on this flower", "the petals", "its petals"),
    "a-flower": ("a flower with", "this is a flower with", "a <look> flower that has", "flower with"),
    "with": ("with", "around", "together with"),
    "surround": ("surround", "encircle", "are arranged around", "form a ring around", "open around"),
    "stands-out": ("stands out against", "contrasts with", "shines among"),
    "look": ("pretty", "lovely", "beautiful", "delicate", "colorful", "showy", "dainty"),
    "texture": ("round", "rough", "bumpy", "domed", "grainy", "raised"),
    "and-form": ("", "and <formed>", "and are <formed>", "with <tips>"),
}
# `form` stands before "petals", `formed` after "are".
_SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    "form": {
        "round": ("rounded", "round", "oval"),
        "pointed": ("pointed", "pointy", "sharp", "star shaped"),
        "heart-shaped": ("heart shaped", "notched"),
        "long": ("long thin", "narrow", "slender", "long"),
        "cupped": ("cupped", "overlapping", "cup shaped"),
        "ruffled": ("ruffled", "wavy", "frilly"),
        "broad": ("broad", "wide", "large"),
    },
    "formed": {
        "round": ("rounded", "smooth and round", "oval"),
        "pointed": ("pointed", "arranged like a star", "pointy at the tip"),
        "heart-shaped": ("heart shaped", "notched at the tip", "shaped like hearts"),
        "long": ("long and thin", "narrow", "slender"),
        "cupped": ("cupped", "broad and overlapping", "curved like a cup"),
        "ruffled": ("ruffled", "wavy at the edges", "frilly"),
        "broad": ("broad", "wide and flat", "large"),
    },
    "tips": {
        "round": ("rounded tips", "smooth edges"),
        "pointed": ("pointed tips", "sharp ends"),
        "heart-shaped": ("notched tips", "a dent at the tip"),
        "long": ("blunt tips", "narrow ends"),
        "cupped": ("curved tips", "overlapping edges"),
        "ruffled": ("ruffled edges", "wavy tips"),
        "broad": ("wide tips", "gently curved ends"),
    },
}
_LAYERS: dict[int, dict[str, tuple[str, ...]]] = {
    1: {
        "in-layers": ("in a single row", "in one layer", "in a ring"),
        "layers-of": ("a single layer of", "one row of"),
    },
    2: {"in-layers": ("in two layers", "that are layered"), "layers-of": ("two layers of", "two rows of")},
    3: {"in-layers": ("in three layers", "in many layers"), "layers-of": ("three layers of", "many layers of")},
}
_PATTERNS = {
    "veins": ("{petal} petals with {second} veins", "petals that are {petal} and veined with {second}"),
    "edge": ("{petal} petals edged in {second}", "petals that are {petal} with {second} edges"),
    "base": ("{petal} petals that turn {second} at the base", "{petal} petals with {second} at the base"),
}
_PLACES = {
    "foliage": ("in front of dark leaves", "among the leaves"),
    "bokeh": ("in a bright garden", "in soft light"),
    "sky": ("against the sky", "under an open sky"),
    "dark": ("on a dark background", "in the shade"),
    "soil": ("above bare soil", "in a flower bed"),
}
_SHADES = ("bright", "mostly", "all", "a soft", "completely", "clearly")


def captions(flower: Flower, rng: np.random.Generator) -> list[str]:
    """Ten different captions. Each names the petals' colour; the first, and most others, the centre's too."""
    rules, words = _rules(flower), _words(flower)
    first_rules = _GRAMMAR | rules
    # The other captions may tell of a second colour; the first names only the two colours of the class.
    rules = first_rules | {"petals-of": _GRAMMAR["petals-of"] + _PATTERNS.get(flower.pattern, ())}
    chosen = [_finish(_grow("<both>", first_rules, rng).format_map(words))]
    while len(chosen) < CAPTIONS:
        start = "<both>" if float(rng.random()) < 0.78 else "<petals>"
        caption = _finish(_grow(start, rules, rng).format_map(words))
        if caption not in chosen:
            chosen.append(caption)
    return chosen


def _rules(flower: Flower) -> dict[str, tuple[str, ...]]:
    stamens = ("with {centre} stamens", "and {number-of-stamens} stamens", "with {centre} anthers around it")
    return {
        **{rule: of_shape[flower.shape] for rule, of_shape in _SHAPES.items()},
        **_LAYERS[flower.layers],
        "shade": ("", "", *_SHADES),
        "and-stamens": stamens if flower.stamens else ("without visible stamens", "of many tiny florets"),
        "in-front-of": _PLACES[flower.background],
    }


def _words(flower: Flower) -> dict[str, str]:
    return {
        "petal": flower.petal_colour,
        "centre": flower.centre_colour,
        "second": flower.second_colour,
        "size": {"medium": "round"}.get(flower.centre_size, flower.centre_size),
        "number": _NUMBERS[flower.petals] if flower.petals <= _COUNTED and flower.layers == 1 else "many",
        "number-of-stamens": "several" if flower.stamens <= _COUNTED else "many",
    }


def _grow(text: str, rules: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    while rule := re.search(r"<([a-z-]+)>", text):
        alternatives = rules[rule[1]]
        text = text[: rule.start()] + alternatives[int(rng.integers(len(alternatives)))] + text[rule.end() :]
    return text


def _finish(text: str) -> str:
    text = " ".join(text.split()).replace(" ,", ",")
    return re.sub(r"\ba (?=orange|oval|overlapping)", "an ", text) + "."
