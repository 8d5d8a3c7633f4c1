"""Decode and resize the photos of captions.csv, once, into one tensor."""

from textbloom.core import errors
from textbloom.data import image_ids, picture_tensor


def main() -> None:
    # The processes that decode import this file too: what they do not need would take most of their start-up.
    from textbloom import config
    from textbloom.data import registry

    p = config.load()
    ids = image_ids.captioned(config.CAPTIONS)
    photos = registry.open_dataset(p.data.dataset).photos(config.raw(p.data.dataset))
    picture_tensor.write(config.IMAGES, photos, ids, p.images.size, p.images.fit, p.images.box_share)
    image_ids.write(config.IMAGE_IDS, ids)


if __name__ == "__main__":
    errors.run(main)
