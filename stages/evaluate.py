"""Measure generated pictures against real ones, held out where any are: metrics/eval.json, and its intervals."""

import sys

import pandas as pd
from torch import Tensor

from textbloom import config
from textbloom.core import runtime
from textbloom.core.files import write_json, write_text
from textbloom.core.seeding import seed_for
from textbloom.core.tensors import load_image_ids, shape_of
from textbloom.dataset.eval_split import load_eval_split
from textbloom.features import extractor
from textbloom.metrics.evaluator import Evaluator
from textbloom.sampling.generator import load_generator
from textbloom.text import pretrained


def main(p: config.Params) -> None:
    runtime.portable(p.portable)
    generator = load_generator(config.trained(p.evaluate.model), p.evaluate.generator)
    judge = extractor.load(p.evaluate.extractor, p.evaluate.weights, p.evaluate.layer)
    evaluator = Evaluator(
        judge,
        extractor.read_real_features(config.REAL_FEATURES, judge, generator.size),
        load_image_ids(config.IMAGE_IDS),
        load_eval_split(
            config.PREPARED, split=p.evaluate.split, train_splits=p.train.split_names, seed=p.seed, size=generator.size
        ),
        pretrained.load(p.evaluate.text_encoder, source=p.encoder.source),
        samples=p.evaluate.samples,
        seed=p.seed,
        attributes=config.attributes(p.data.dataset),
        allow_training_network=p.evaluate.allow_training_network,
    )

    def make(places: Tensor, draw: int) -> Tensor:
        noise = generator.noise(len(places), seed_for(p.seed, "evaluated pictures", draw))
        return generator.sample(evaluator.embeddings[places], noise)

    result = evaluator.measure(make, generator.config)
    prepared_size = shape_of(config.IMAGES, "images")[-1]
    reduced = {"reduced_from": prepared_size} if prepared_size != generator.size else {}
    if reduced:
        print(
            f"real pictures of {prepared_size} pixels are compared at the generator's {generator.size}", file=sys.stderr
        )
    intervals = pd.DataFrame.from_dict(result.intervals, orient="index", columns=["value", "low", "high"])
    for path, table in (
        (config.INTERVALS, intervals.rename_axis("metric").reset_index()),
        (config.MEMORISATION, pd.DataFrame(result.memorisation)),
    ):
        write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_json(config.EVAL_METRICS, result.metrics | reduced | {"train_splits": p.train.splits})
    runtime.record_provenance(config.PROVENANCE / "evaluate.json")


if __name__ == "__main__":
    config.run(main)
