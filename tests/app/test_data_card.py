"""The prepared data's Croissant metadata: mlcroissant finds no error in it and reads the captions by it."""

import json
from pathlib import Path

import mlcroissant
import pytest

from textbloom import config
from textbloom.app import data_card
from textbloom.core.files import sha256


@pytest.mark.filterwarnings("ignore")  # mlcroissant's own, of its dependencies
def test_captions_are_read_by_the_metadata(project):
    Path("data").mkdir()
    rows = ["image_id,class_id,split,caption_index,caption", "1,10,test,0,a pink flower", "2,3,train,0,a blue one"]
    config.CAPTIONS.write_text("\n".join(rows) + "\n", encoding="utf-8")
    for path in (config.IMAGES, config.IMAGE_IDS, config.EMBEDDINGS):
        path.write_bytes(path.name.encode())
    Path("croissant.json").write_text(json.dumps(data_card.described()), encoding="utf-8")
    found = mlcroissant.Dataset(jsonld="croissant.json")
    assert not found.metadata.ctx.issues.errors
    assert {file.name: file.sha256 for file in found.metadata.distribution} == {
        path.name: sha256(path) for path in data_card.FILES
    }
    assert [record["captions/caption"] for record in found.records("captions")] == [b"a pink flower", b"a blue one"]
    config.CAPTIONS.write_text("\n".join(rows[:2]) + "\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"Download\(captions\.csv\)"):
        list(mlcroissant.Dataset(jsonld="croissant.json").records("captions"))
