"""Compute what the judge of evaluation sees in every prepared picture, at the size of the generated pictures."""

from textbloom import config
from textbloom.core import runtime
from textbloom.core.tensors import load_tensors
from textbloom.dataset.prepared import Pictures
from textbloom.features import extractor


def main(p: config.Params) -> None:
    runtime.portable(p.portable)
    # A first stage may work at a smaller size than the second one, whose size is that of the prepared pictures.
    size = p.images.size if p.evaluate.model == "refined" else p.train.size or p.images.size
    judge = extractor.load(p.evaluate.extractor, p.evaluate.weights, p.evaluate.layer)
    images = Pictures(load_tensors(config.IMAGES)["images"]).at(size).all()
    extractor.write_real_features(config.REAL_FEATURES, judge, images)


if __name__ == "__main__":
    config.run(main)
