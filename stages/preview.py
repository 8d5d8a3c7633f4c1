"""Show the prepared data: a contact sheet with captions, and counts; nothing is trained yet."""

from textbloom import config
from textbloom.core.errors import UserError
from textbloom.core.files import write_json
from textbloom.core.tensors import load_image_ids, load_rows, shape_of
from textbloom.dataset.prepared import read_captions
from textbloom.viz import preview


def main(_: config.Params) -> None:
    rows = read_captions(config.CAPTIONS)
    image_ids = load_image_ids(config.IMAGE_IDS).tolist()
    if image_ids != sorted(set(rows["image_id"])):
        raise UserError(f"{config.IMAGE_IDS} and {config.CAPTIONS} are not of the same images: run `make repro`")
    numbers = preview.counts(rows, shape_of(config.IMAGES, "images")[-1])
    shown = preview.choose(rows)
    place = {image_id: row for row, image_id in enumerate(image_ids)}
    pictures = load_rows(config.IMAGES, "images", [place[image_id] for image_id in shown["image_id"]])
    preview.contact_sheet(pictures, shown, numbers).save(config.DATA_SHEET)
    write_json(config.DATA_METRICS, numbers)


if __name__ == "__main__":
    config.run(main)
