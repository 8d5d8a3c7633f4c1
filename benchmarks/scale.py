"""How training's time and memory grow with the number of pictures, their size and the networks' width.

    PYTHONPATH=src python benchmarks/scale.py

System A at batch 64 from noise pictures; each row is a process of its own, from which time and peak memory are read.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from textbloom.core import runtime
from textbloom.core.tensors import save_tensors
from textbloom.dataset.prepared import load

STEPS, EMBEDDING_DIM = 30, 768


@dataclass(frozen=True)
class Setting:
    """pictures: N. size: S. features: F."""

    pictures: int = 8192
    size: int = 64
    features: int = 32


SETTINGS = [
    *(Setting(pictures=n) for n in (8192, 16384, 32768)),
    *(Setting(size=s) for s in (64, 128)),
    *(Setting(features=f) for f in (32, 64, 128)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one is not None:
        print(json.dumps(_measure(Setting(**one))))
        return
    print("| pictures | size | F | images/s | pictures' tensor, MiB | peak memory, MiB |\n|---|---|---|---|---|---|")
    for setting in dict.fromkeys(SETTINGS):
        command = [sys.executable, __file__, "--one", json.dumps(asdict(setting))]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        tensor = setting.pictures * 3 * setting.size**2 / 2**20
        cells = [*asdict(setting).values(), round(found["images_per_second"], 1), round(tensor), found["peak_mib"]]
        print(f"| {' | '.join(map(str, cells))} |")


def _measure(setting: Setting) -> dict[str, float]:
    from training import Ours

    with tempfile.TemporaryDirectory() as folder:
        data = load(*_files(Path(folder), setting), splits=("train",))
    options = argparse.Namespace(features=setting.features, batch=64, seed=1, embedding_dim=EMBEDDING_DIM)
    ours = Ours(data, options, runtime.device())
    ours(5)
    started = time.perf_counter()
    ours(STEPS)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"images_per_second": STEPS * 64 / seconds, "peak_mib": peak}


def _files(folder: Path, setting: Setting) -> tuple[Path, Path, Path, Path]:
    """Prepared data of random pictures, as the stages before train leave it."""
    captions, images = folder / "captions.csv", folder / "images.safetensors"
    ids, embeddings = folder / "image_ids.csv", folder / "embeddings.safetensors"
    numbers = range(1, setting.pictures + 1)
    rows = (f"{number},1,train,0,a flower" for number in numbers)
    captions.write_text("\n".join(["image_id,class_id,split,caption_index,caption", *rows, ""]))
    ids.write_text("\n".join(["image_id", *map(str, numbers), ""]))
    shape = (setting.pictures, 3, setting.size, setting.size)
    pictures = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    save_tensors(images, {"images": torch.from_numpy(pictures)})
    save_tensors(embeddings, {"embeddings": torch.randn(setting.pictures, EMBEDDING_DIM)})
    return captions, images, ids, embeddings


if __name__ == "__main__":
    main()
