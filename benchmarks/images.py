"""Images a second of the images stage against a plain Pillow loop, and its memory at any number of pictures.

    PYTHONPATH=src python benchmarks/images.py                      # generated 500 × 667 JPEGs
    PYTHONPATH=src python benchmarks/images.py --folder data/raw/flowers102
    PYTHONPATH=src python benchmarks/images.py --scale 90000        # memory and time of that many pictures at 256

The plain loop keeps its array in memory; ours ends with the file on disk. Every way reads the same archive or list.
"""

import argparse
import io
import itertools
import resource
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from textbloom.core import errors
from textbloom.core.processors import cores
from textbloom.core.progress import progress
from textbloom.data import flowers102, images
from textbloom.data.base import Photo

Archive = Callable[[], Iterable[Photo]]


def main() -> None:
    options = _options()
    if options.scale:
        _scale(options.scale, options.shape, options.temporary)
        return
    archive, ids = _real(options.folder) if options.folder else _generated(options.photos, options.shape)
    ways: dict[str, Callable[[int], None]] = {
        "plain Pillow loop": lambda size: _plain(archive(), ids, size),
        "ours, 1 thread": lambda size: _ours(archive(), ids, size, options.temporary, 1),
        f"ours, {cores()} threads": lambda size: _ours(archive(), ids, size, options.temporary, None),
    }
    rates = {(way, size): list[float]() for way in ways for size in options.sizes}
    costs = {(way, size): list[float]() for way in ways for size in options.sizes}
    for _, size, way in itertools.product(range(options.repeats), options.sizes, ways):
        start, used = time.perf_counter(), time.process_time()
        ways[way](size)
        rates[way, size].append(len(ids) / (time.perf_counter() - start))
        costs[way, size].append((time.process_time() - used) / len(ids) * 1000)
    print(f"{len(ids)} pictures, median of {options.repeats} interleaved runs (least to most)\n")
    print("| size | way | images/s | CPU ms an image |\n|---|---|---|---|")
    for size, way in itertools.product(options.sizes, ways):
        rate, cost = rates[way, size], statistics.median(costs[way, size])
        spread = f"{statistics.median(rate):.0f} ({min(rate):.0f} to {max(rate):.0f})"
        print(f"| {size} | {way} | {spread} | {cost:.2f} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a folder with Oxford's 102flowers.tgz")
    parser.add_argument("--photos", type=int, default=1500, help="generated photos")
    parser.add_argument("--shape", type=int, nargs=2, default=[500, 667], help="width and height of generated photos")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=int, default=0, help="stream so many pictures at 256 and report memory")
    parser.add_argument("--temporary", type=Path, help="where the output goes meanwhile; default: the system's place")
    return parser.parse_args()


def _plain(photos: Iterable[Photo], ids: Sequence[int], size: int) -> None:
    """What a script without this project does."""
    images = np.empty((len(ids), size, size, 3), dtype=np.uint8)
    for row, photo in enumerate(photos):
        image = Image.open(io.BytesIO(photo.data)).convert("RGB")
        images[row] = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def _ours(photos: Iterable[Photo], ids: Sequence[int], size: int, where: Path | None, threads: int | None) -> None:
    with tempfile.TemporaryDirectory(dir=where) as folder:
        images.write(Path(folder) / "images.safetensors", photos, ids, size, threads=threads)


def _real(folder: Path) -> tuple[Archive, list[int]]:
    """A real archive, read from disk anew by each way."""
    with tarfile.open(folder / flowers102.PHOTOS) as tar:
        ids = sorted(int(name[-9:-4]) for name in tar.getnames() if name.endswith(".jpg"))
    return lambda: flowers102.photos(folder), ids


def _generated(count: int, shape: tuple[int, int], different: int = 150) -> tuple[Archive, range]:
    """`count` photos, cycling over some different ones."""
    data = [_jpeg(seed, *shape) for seed in progress(range(different), "draw", "photo")]
    return lambda: (Photo(id_, f"photo {id_}", data[id_ % different]) for id_ in range(count)), range(count)


def _jpeg(seed: int, width: int, height: int) -> bytes:
    """Clouds at every scale, as the power spectrum of photos has them; about 40 KiB, as Oxford's photos have."""
    rng, total = np.random.default_rng(seed), np.zeros((height, width, 3))
    for cells in (3, 6, 12, 25, 50, 100, 200):
        clouds = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC), dtype=float) / cells**0.8
    total = (total - total.min()) / (total.max() - total.min()) * 255
    file = io.BytesIO()
    Image.fromarray(total.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _scale(count: int, shape: tuple[int, int], where: Path | None) -> None:
    archive, ids = _generated(count, shape, 300)
    start = time.perf_counter()
    _ours(archive(), ids, 256, where, None)
    seconds = time.perf_counter() - start
    print(
        f"{count} pictures at 256, {count * 3 * 256**2 / 1e9:.1f} GB: {seconds:.0f} s, {count / seconds:.0f} images/s"
    )
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    errors.run(main)
