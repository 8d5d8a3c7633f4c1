"""Train the text encoder where the project trains it itself, and measure it on the held-out classes."""

from textbloom import config
from textbloom.core import errors
from textbloom.core.files import replacing, write_json
from textbloom.text import TRAINED_HERE


def main() -> None:
    p = config.load()
    if p.encoder.name not in TRAINED_HERE:
        with replacing(config.TEXT_ENCODER) as folder:
            write_json(folder / "config.json", {"trained": False})
        write_json(config.ENCODER_METRICS, {"encoder": p.encoder.name, "trained": False})
        return
    # Imported here: other encoders must not wait for torch.
    from textbloom.core import runtime
    from textbloom.data import image_ids, registry
    from textbloom.dataset.prepared import read_captions
    from textbloom.text import encoder_run, picture_features
    from textbloom.text.encoder_training import Schedule

    runtime.portable(p.portable)
    archives = config.raw(p.data.dataset)
    ids = image_ids.captioned(config.CAPTIONS)
    photos = registry.open_dataset(p.data.dataset).photos(archives)
    features = picture_features.kept(photos, ids, archives / "manifest.json")
    schedule = Schedule(
        seed=p.seed,
        epochs=p.encoder_training.epochs,
        batch_size=p.encoder_training.batch_size,
        lr=p.encoder_training.lr,
        lr_decay=p.encoder_training.lr_decay,
        precision=p.encoder_training.precision,
    )
    rows = read_captions(config.CAPTIONS)
    with replacing(config.TEXT_ENCODER) as folder:
        metrics = encoder_run.train_and_measure(
            p.encoder.name, rows, ids, features, p.train.split_names, schedule, folder
        )
    write_json(config.ENCODER_METRICS, metrics | {"picture_features": picture_features.NAME})


if __name__ == "__main__":
    errors.run(main)
