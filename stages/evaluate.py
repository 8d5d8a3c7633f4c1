"""Measure generated pictures against real ones, held out where any are: metrics/eval.json."""

import time

from textbloom import config as params
from textbloom.core import errors, paths, runtime
from textbloom.core.files import write_json
from textbloom.core.seeding import seed_for
from textbloom.dataset import judged
from textbloom.features import extractors
from textbloom.metrics import measures, named_colours
from textbloom.sampling.generator import load_generator


def main() -> None:
    p = params.load()
    runtime.portable(p.portable)
    started = time.monotonic()
    generator = load_generator(paths.trained(p.evaluate.model), p.evaluate.generator)
    sides = judged.load(paths.CAPTIONS, paths.IMAGES, paths.IMAGE_IDS, paths.EMBEDDINGS, p.seed, generator.size)
    pictures = measures.compared(sides, p.evaluate.samples, p.seed)
    extractor = extractors.load(p.evaluate.extractor, p.evaluate.weights, p.evaluate.layer)

    generated = generator.sample(pictures.embeddings, seed_for(p.seed, "evaluated pictures"))
    metrics = measures.Referee(extractor, pictures, p.seed).measure(generated)
    if p.evaluate.layer is not None:
        metrics["layer"] = p.evaluate.layer
    if p.data.dataset == "drawn":
        table = paths.raw(p.data.dataset) / "attributes.csv"
        metrics |= named_colours.measure(generated, pictures, table, p.seed)

    write_json(paths.EVAL_METRICS, measures.finished(metrics))
    runtime.record_provenance(paths.PROVENANCE / "evaluate.json", seconds=round(time.monotonic() - started, 1))


if __name__ == "__main__":
    errors.run(main)
