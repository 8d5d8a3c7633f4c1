"""Train the text encoder where the project trains it itself, and measure it on held-out classes."""

from textbloom import config
from textbloom.core.files import replacing, write_json


def main(p: config.Params) -> None:
    if p.encoder.name not in config.TRAINED_ENCODERS:
        with replacing(config.TEXT_ENCODER) as folder:
            write_json(folder / "config.json", {"trained": False})
        write_json(config.ENCODER_METRICS, {"encoder": p.encoder.name, "trained": False})
        return
    # Imported here, so that nobody else waits for torch.
    from textbloom.core import runtime
    from textbloom.core.tensors import load_metadata, load_tensors
    from textbloom.dataset.prepared import read_captions
    from textbloom.text.encoder_training import Schedule, train_and_measure

    runtime.portable(p.portable)
    schedule = Schedule(seed=p.seed, **p.encoder_training.model_dump())
    rows = read_captions(config.CAPTIONS)
    features, origin = load_tensors(config.PHOTO_FEATURES), load_metadata(config.PHOTO_FEATURES)
    with replacing(config.TEXT_ENCODER) as folder:
        metrics = train_and_measure(
            p.encoder.name,
            rows,
            features,
            origin["pretrained"],
            p.train.split_names,
            schedule,
            folder,
            resume_root=config.resume_root(),
            files=[config.CAPTIONS, config.PHOTO_FEATURES],
        )
    write_json(config.ENCODER_METRICS, metrics | {"picture_features": origin["picture_features"]})


if __name__ == "__main__":
    config.run(main)
