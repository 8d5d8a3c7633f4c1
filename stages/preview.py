"""Show the prepared data: a contact sheet with captions, and counts; nothing is trained yet."""

from textbloom.core import errors, paths
from textbloom.core.errors import UserError
from textbloom.core.files import write_json
from textbloom.core.tensors import load_image_ids, load_rows, shape_of
from textbloom.dataset.prepared import read_captions
from textbloom.viz import preview


def main() -> None:
    rows = read_captions(paths.CAPTIONS)
    image_ids = load_image_ids(paths.IMAGE_IDS).tolist()
    if image_ids != sorted(set(rows["image_id"])):
        raise UserError(f"{paths.IMAGE_IDS} and {paths.CAPTIONS} are not of the same images: run `make repro`")
    numbers = preview.counts(rows, shape_of(paths.IMAGES, "images")[-1])
    shown = preview.choose(rows)
    place = {image_id: row for row, image_id in enumerate(image_ids)}
    pictures = load_rows(paths.IMAGES, "images", [place[image_id] for image_id in shown["image_id"]])
    preview.contact_sheet(pictures, shown, numbers, paths.DATA_SHEET)
    write_json(paths.DATA_METRICS, numbers)


if __name__ == "__main__":
    errors.run(main)
