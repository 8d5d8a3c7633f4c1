"""Measure generated pictures against real ones, held out where any are: metrics/eval.json."""

import time

from textbloom import config
from textbloom.core import errors, runtime
from textbloom.core.files import write_json
from textbloom.core.seeding import seed_for
from textbloom.core.tensors import load_image_ids
from textbloom.dataset.eval_split import load_eval_split
from textbloom.features import extractor
from textbloom.metrics.evaluator import Evaluator
from textbloom.sampling.generator import load_generator


def main() -> None:
    p = config.load()
    runtime.portable(p.portable)
    started = time.monotonic()
    generator = load_generator(config.trained(p.evaluate.model), p.evaluate.generator)
    split = load_eval_split(
        *config.PREPARED, split=p.evaluate.split, train_splits=p.train.split_names, seed=p.seed, size=generator.size
    )
    judge = extractor.load(p.evaluate.extractor, p.evaluate.weights, p.evaluate.layer)
    evaluator = Evaluator(
        judge,
        extractor.read_real_features(config.REAL_FEATURES).by(judge, generator.size),
        load_image_ids(config.IMAGE_IDS),
        split,
        samples=p.evaluate.samples,
        seed=p.seed,
        attributes=config.attributes(p.data.dataset),
    )
    generated = generator.sample(evaluator.embeddings, seed_for(p.seed, "evaluated pictures"))
    write_json(config.EVAL_METRICS, evaluator.measure(generated))
    runtime.record_provenance(config.PROVENANCE / "evaluate.json", seconds=round(time.monotonic() - started, 1))


if __name__ == "__main__":
    errors.run(main)
