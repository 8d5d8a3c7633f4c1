"""Decode and resize the photos of captions.csv, once, into one tensor."""

import torch

from textbloom import errors, params, paths
from textbloom.datasets import pictures, registry
from textbloom.files import write_text
from textbloom.prepared import read_captions
from textbloom.tensors import save_tensors


def main() -> None:
    p = params.load()
    image_ids = sorted(set(read_captions(paths.CAPTIONS)["image_id"].tolist()))
    photos = registry.open_dataset(p.data.dataset).photos(paths.raw(p.data.dataset))
    images = pictures.decode_all(photos, image_ids, p.images.size)
    save_tensors(paths.IMAGES, {"images": torch.from_numpy(images)})
    write_text(paths.IMAGE_IDS, "\n".join(["image_id", *map(str, image_ids)]) + "\n")


if __name__ == "__main__":
    errors.run(main)
