"""Decode and resize the photos of captions.csv, once, into one tensor."""

from textbloom import config
from textbloom.data import captions, images, registry


def main(p: config.Params) -> None:
    ids = captions.image_ids(config.CAPTIONS)
    photos = registry.DATASETS[p.data.dataset].photos(config.raw(p.data.dataset))
    images.write(
        config.IMAGES, photos, ids, p.images.size, p.images.fit, p.images.box_share, larger=p.images.random_crops
    )
    images.write_ids(config.IMAGE_IDS, ids)


if __name__ == "__main__":
    config.run(main)
