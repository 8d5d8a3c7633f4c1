"""Measure generated pictures against real ones, held out where any are: metrics/eval.json."""

import time

from textbloom import config
from textbloom.core import errors, runtime
from textbloom.core.files import write_json
from textbloom.core.seeding import seed_for
from textbloom.dataset.eval_split import load_eval_split
from textbloom.features import extractor as extractors
from textbloom.metrics import measures, named_colours
from textbloom.sampling.generator import load_generator


def main() -> None:
    p = config.load()
    runtime.portable(p.portable)
    started = time.monotonic()
    generator = load_generator(config.trained(p.evaluate.model), p.evaluate.generator)
    sides = load_eval_split(
        *config.PREPARED, split=p.evaluate.split, train_splits=p.train.split_names, seed=p.seed, size=generator.size
    )
    pictures = measures.compared(sides, p.evaluate.samples, p.seed)
    extractor = extractors.load(p.evaluate.extractor, p.evaluate.weights, p.evaluate.layer)

    generated = generator.sample(pictures.embeddings, seed_for(p.seed, "evaluated pictures"))
    metrics = measures.Referee(extractor, pictures, p.seed).measure(generated)
    if p.evaluate.layer is not None:
        metrics["layer"] = p.evaluate.layer
    if p.data.dataset == "drawn":
        table = config.raw(p.data.dataset) / "attributes.csv"
        metrics |= named_colours.measure(generated, pictures, table, p.seed)

    write_json(config.EVAL_METRICS, measures.finished(metrics))
    runtime.record_provenance(config.PROVENANCE / "evaluate.json", seconds=round(time.monotonic() - started, 1))


if __name__ == "__main__":
    errors.run(main)
