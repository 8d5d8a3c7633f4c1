"""Decode and resize the photos of captions.csv, once, into one tensor."""

from textbloom import errors, params, paths
from textbloom.datasets import image_ids, picture_tensor, registry


def main() -> None:
    p = params.load()
    ids = image_ids.captioned(paths.CAPTIONS)
    photos = registry.open_dataset(p.data.dataset).photos(paths.raw(p.data.dataset))
    picture_tensor.write(paths.IMAGES, photos, ids, p.images.size, p.images.fit, p.images.box_share)
    image_ids.write(paths.IMAGE_IDS, ids)


if __name__ == "__main__":  # the processes that decode import this file too
    errors.run(main)
