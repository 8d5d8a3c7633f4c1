"""Compute the photos' features that a text encoder learns from, where the project trains it itself."""

from textbloom import config
from textbloom.core.tensors import save_tensors


def main(p: config.Params) -> None:
    if p.encoder.name not in config.TRAINED_ENCODERS:
        save_tensors(config.PHOTO_FEATURES, {}, {"extracted": False})
        return
    # Imported here, so that nobody else waits for the network's library.
    from textbloom.core import runtime
    from textbloom.data import captions, decoding, registry
    from textbloom.features import photo_features

    runtime.portable(p.portable)
    ids = captions.image_ids(config.CAPTIONS)
    wanted = set(ids)
    photos = (
        (photo.image_id, decoding.decode(photo, photo_features.SIDE))
        for photo in registry.DATASETS[p.data.dataset].photos(config.raw(p.data.dataset))
        if photo.image_id in wanted
    )
    features = photo_features.extract(photos, ids)
    save_tensors(config.PHOTO_FEATURES, features, photo_features.METADATA)


if __name__ == "__main__":
    config.run(main)
