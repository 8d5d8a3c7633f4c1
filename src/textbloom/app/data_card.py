"""The prepared data described in Croissant 1.0, the JSON-LD vocabulary in which data sets are published and found."""

from typing import Any

import mlcroissant as mlc

from textbloom import config
from textbloom.core.files import sha256

FILES = {
    config.CAPTIONS: ("text/csv", "One row a caption, sorted by image."),
    config.IMAGES: (
        "application/octet-stream",
        "safetensors: `images`, uint8 [N, 3, S, S], in the order of image_ids.csv; with images.random_crops "
        "also `larger`, the same ones with 19/16 of the side.",
    ),
    config.IMAGE_IDS: ("text/csv", "The image of each row of images.safetensors."),
    config.EMBEDDINGS: (
        "application/octet-stream",
        "safetensors: `embeddings`, float32 [captions, D], a row a caption.",
    ),
}
COLUMNS = {
    "image_id": (mlc.DataType.INTEGER, "Number of the image, from 1."),
    "class_id": (mlc.DataType.INTEGER, "Number of its class, from 1."),
    "split": (mlc.DataType.TEXT, "train, val or test."),
    "caption_index": (mlc.DataType.INTEGER, "Which of the image's captions it is, from 0."),
    "caption": (mlc.DataType.TEXT, "An English sentence about the image."),
}


def described() -> dict[str, Any]:
    """The prepared data as Croissant's JSON-LD; its addresses are paths from the project's root."""
    p = config.load()
    files = [
        mlc.FileObject(
            id=path.name,
            name=path.name,
            description=what,
            content_url=str(path),
            encoding_formats=[kind],
            sha256=sha256(path),
        )
        for path, (kind, what) in FILES.items()
    ]
    fields = [
        mlc.Field(
            id=f"captions/{name}",
            name=name,
            description=what,
            data_types=kind,
            source=mlc.Source(file_object=config.CAPTIONS.name, extract=mlc.Extract(column=name)),
        )
        for name, (kind, what) in COLUMNS.items()
    ]
    metadata = mlc.Metadata(
        name=f"textbloom-{p.data.dataset}",
        description=f"The data set {p.data.dataset} as textbloom prepared it: pictures of {p.images.size} pixels, "
        f"their captions and the captions' embeddings by {p.encoder.name}.",
        distribution=files,
        record_sets=[mlc.RecordSet(id="captions", name="captions", fields=fields)],
    )
    found: dict[str, Any] = metadata.to_json()
    return found
