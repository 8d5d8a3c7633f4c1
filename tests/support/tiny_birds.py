"""A data set of six birds in the layout of CUB-200-2011, for tests to read and to break."""

from collections.abc import Mapping
from pathlib import Path

from support.tiny_flowers import jpeg, write_archive
from textbloom.data import cub200

# Ids have gaps, and their order is not that of the folders.
BIRDS = {
    2: "001.Black_footed_Albatross/Black_Footed_Albatross_0001_11",
    3: "001.Black_footed_Albatross/Black_Footed_Albatross_0002_12",
    5: "004.Groove_billed_Ani/Groove_Billed_Ani_0001_13",
    7: "002.Laysan_Albatross/Laysan_Albatross_0001_14",
    8: "004.Groove_billed_Ani/Groove_Billed_Ani_0002_15",
    9: "002.Laysan_Albatross/Laysan_Albatross_0002_16",
}
SPLIT_OF_CLASS = {1: "test", 2: "train", 4: "val"}
BOXES = {image_id: (10.0 + image_id, 5.5, 40.0, 30.0 + image_id) for image_id in BIRDS}  # of pictures of 90 × 60


def class_id(image_id: int) -> int:
    return int(BIRDS[image_id][:3])


def folder_of(class_id: int) -> str:
    return next(path.split("/")[0] for path in BIRDS.values() if int(path[:3]) == class_id)


def photo_name(image_id: int) -> str:
    return f"CUB_200_2011/images/{BIRDS[image_id]}.jpg"


def caption_name(image_id: int) -> str:
    return f"cvpr2016_cub/text_c10/{BIRDS[image_id]}.txt"


def photos() -> dict[str, bytes]:
    return {photo_name(id_): jpeg(id_) for id_ in BIRDS}


def tables() -> dict[str, bytes]:
    return {
        "CUB_200_2011/images.txt": _lines(f"{id_} {path}.jpg" for id_, path in BIRDS.items()),
        "CUB_200_2011/image_class_labels.txt": _lines(f"{id_} {class_id(id_)}" for id_ in BIRDS),
        "CUB_200_2011/bounding_boxes.txt": _lines(f"{id_} {' '.join(map(str, box))}" for id_, box in BOXES.items()),
    }


def texts() -> dict[str, bytes]:
    members = {caption_name(id_): f"bird {id_} is red\nit has {id_} feathers\n".encode() for id_ in BIRDS}
    for class_id_, split in SPLIT_OF_CLASS.items():
        members[f"cvpr2016_cub/{split}classes.txt"] = f"{folder_of(class_id_)}\n".encode()
    train_and_val = [folder_of(class_id_) for class_id_, split in SPLIT_OF_CLASS.items() if split != "test"]
    members["cvpr2016_cub/trainvalclasses.txt"] = _lines(train_and_val)
    return members


def write(folder: Path, birds: Mapping[str, bytes] | None = None, texts_: Mapping[str, bytes] | None = None) -> Path:
    """Both archives, the given members in place of the sound ones; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_archive(folder / cub200.PHOTOS, tables() | photos() if birds is None else birds)
    write_archive(folder / cub200.CAPTIONS, texts() if texts_ is None else texts_)
    return folder


def _lines(lines) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
