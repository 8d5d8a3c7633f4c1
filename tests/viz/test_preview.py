"""The preview of prepared data: true counts, a fair and steady choice, nothing read that is not shown."""

import json
import runpy
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from textbloom import config
from textbloom.core.files import write_text
from textbloom.core.tensors import save_tensors
from textbloom.viz import preview

ROOT = Path(__file__).parents[2]
HEADER = "image_id,class_id,split,caption_index,caption"


def table(sizes: dict[str, int], classes: int = 5) -> pd.DataFrame:
    """One caption an image, splits and classes in turn."""
    splits = [split for split, size in sizes.items() for _ in range(size)]
    ids = range(1, len(splits) + 1)
    captions = [f"caption {id_}" for id_ in ids]
    class_ids = [id_ % classes for id_ in ids]
    return pd.DataFrame({"image_id": ids, "class_id": class_ids, "split": splits, "caption": captions})


def run() -> None:
    runpy.run_path(str(ROOT / "stages" / "preview.py"), run_name="__main__")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images, seven captions, one of them twice; image 12 is the only one of split test."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / config.PARAMS, tmp_path)
    rows = [
        "3,1,train,0,a",
        "3,1,train,1,b",
        "7,2,train,0,a",
        "9,2,val,0,c",
        "9,2,val,1,d",
        "9,2,val,2,e",
        "12,4,test,0,f",
    ]
    write_text(config.CAPTIONS, "\n".join([HEADER, *rows, ""]))
    write_text(config.IMAGE_IDS, "image_id\n3\n7\n9\n12\n")
    save_tensors(config.IMAGES, {"images": torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)})
    return tmp_path


def test_the_counts_are_flat_sorted_and_true(project):
    run()
    found = json.loads(config.DATA_METRICS.read_text())
    assert list(found) == sorted(found)
    assert found == {
        "captions": 7,
        "captions_distinct": 6,
        "captions_per_image_max": 3,
        "captions_per_image_min": 1,
        "classes": 3,
        "classes_test": 1,
        "classes_train": 2,
        "classes_val": 1,
        "image_size": 64,
        "images": 4,
        "images_test": 1,
        "images_train": 2,
        "images_val": 1,
    }


def test_a_split_without_images_counts_zero_and_the_sheet_is_drawn(project):
    write_text(config.CAPTIONS, config.CAPTIONS.read_text().replace("test", "train").replace("val", "train"))
    run()
    found = json.loads(config.DATA_METRICS.read_text())
    assert (found["images_test"], found["classes_test"], found["images_train"]) == (0, 0, 4)
    with Image.open(config.DATA_SHEET) as sheet:
        sheet.load()


def test_each_picture_stands_over_its_own_caption_class_and_split():
    rows = table({"train": 2, "val": 1, "test": 10}, classes=3)
    pictures = torch.arange(10).to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    sheet = preview.contact_sheet(pictures, rows.iloc[:10], preview.counts(rows, 8))
    assert torch.equal(torch.cat([row.pictures for row in sheet.rows]), pictures)
    assert [text for row in sheet.rows for text in row.beneath] == [f"caption {i}" for i in range(1, 11)]
    tags = [text for row in sheet.rows for text in row.tags]
    assert tags[:4] == ["class 1 · train", "class 2 · train", "val", "class 1 · test"], "class 0 is no class"
    assert "train 2 of 2 classes, val 1, test 10 of 2 classes" in sheet.note


def test_class_0_is_no_class(project):
    write_text(config.CAPTIONS, config.CAPTIONS.read_text().replace(",2,", ",0,").replace("12,4,", "12,0,"))
    run()
    found = json.loads(config.DATA_METRICS.read_text())
    assert {key: found[key] for key in found if key.startswith("classes")} == {
        "classes": 1,
        "classes_test": 0,
        "classes_train": 1,
        "classes_val": 0,
    }


@pytest.mark.parametrize("sizes", [{"train": 700, "val": 100, "test": 200}, {"train": 995, "val": 1, "test": 4}])
def test_every_split_has_its_share_and_at_least_one_image(sizes):
    shown = preview.choose(table(sizes))
    assert len(shown) == preview.SHOWN
    found = Counter(shown["split"])
    for split, size in sizes.items():
        assert found[split] >= 1
        assert abs(found[split] - preview.SHOWN * size / 1000) < 2
    assert len(set(shown["image_id"])) == preview.SHOWN


def test_the_images_of_a_split_are_of_as_many_classes_as_there_are():
    shown = preview.choose(table({"train": 640}, classes=40))
    assert shown["class_id"].nunique() == preview.SHOWN
    few = preview.choose(table({"train": 640}, classes=4))
    assert set(Counter(few["class_id"]).values()) == {preview.SHOWN // 4}


@pytest.mark.parametrize("sizes", [{"train": 1}, {"train": 20, "test": 3}, {"train": 30, "val": 1, "test": 1}])
def test_where_there_are_few_images_all_are_shown_once(sizes):
    shown = preview.choose(table(sizes))
    assert sorted(shown["image_id"]) == list(range(1, sum(sizes.values()) + 1))


def test_the_choice_does_not_follow_the_order_of_the_rows():
    rows = table({"train": 90, "test": 30})
    assert preview.choose(rows[::-1])["image_id"].tolist() == preview.choose(rows)["image_id"].tolist()


def test_images_of_other_captions_are_refused_in_one_line(project):
    write_text(config.IMAGE_IDS, "image_id\n3\n7\n9\n")
    with pytest.raises(SystemExit, match=r"^error: data/image_ids\.csv and data/captions\.csv are not of the same"):
        run()
    assert not config.DATA_SHEET.exists()
    config.IMAGES.unlink()
    write_text(config.IMAGE_IDS, "image_id\n3\n7\n9\n12\n")
    with pytest.raises(SystemExit, match=r"images\.safetensors is missing"):
        run()
