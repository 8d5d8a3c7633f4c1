"""Training images a second: the notebook's way, the same with the data in memory, and ours; all in one run.

    PYTHONPATH=src python benchmarks/training.py                     # F = 64, batch 64, 64 pixels
    PYTHONPATH=src python benchmarks/training.py --features 128 --batch 1024

System A, all losses on. The notebook's way decodes 500 × 667 JPEGs with Pillow in a DataLoader, runs the
discriminator on every pair by itself, in float32 and with torch's own layers, and reads the losses after each step. The
ways take turns; the ratios of one turn are what a busy machine blurs least.
"""

import argparse
import io
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from textbloom import models
from textbloom.core import runtime
from textbloom.dataset.prepared import Pictures, Prepared
from textbloom.models.base import Discriminator, Generator
from textbloom.models.layers import MapToLogit, MatmulConv2d, MatmulConvTranspose2d, VectorToMap
from textbloom.training.batches import Batches
from textbloom.training.objectives.base import Networks
from textbloom.training.objectives.gan_cls import GanCls
from textbloom.training.trainer import Trainer

SIZE, NOISE_DIM = 64, 100
TURN_SECONDS = 5
Pairs = Iterator[tuple[Tensor, ...]]


def main() -> None:
    options = _options()
    found = measure(options)
    print(f"F = {found['features']}, batch {found['batch']}, {SIZE}×{SIZE}, {found['device']}, {found['precision']}")
    print(f"median of {options.repeats} interleaved turns of {found['steps']} steps (least to most)\n")
    print(table([found]))
    if options.json:
        options.json.write_text(json.dumps(found))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Images a second of each way, and the share of the matrix product's peak that ours reaches."""
    device = runtime.device()
    with tempfile.TemporaryDirectory() as folder:
        files = _photos(Path(folder), max(options.pictures, options.batch))
        embeddings = torch.randn(len(files), options.embedding_dim, generator=torch.Generator().manual_seed(1))
        pictures = torch.stack([_pixels(file) for file in files])
        in_memory = TensorDataset(pictures.float().div(127.5).sub(1.0), embeddings)
        ours = Ours(prepared(pictures, embeddings), options, device)
        ways: dict[str, Callable[[int], None]] = {
            "notebook": Notebook(_Photos(files, embeddings), options, device),
            "in_memory": Notebook(in_memory, options, device),
            "ours": ours,
        }
        slowest = max(_seconds(run, 1, device) for run in ways.values())  # this warms up
        if slowest < TURN_SECONDS:
            slowest = max(_seconds(run, 1, device) for run in ways.values())
        steps = options.steps or max(1, min(20, round(TURN_SECONDS / slowest)))
        rates = {way: list[float]() for way in ways}
        for turn, (way, run) in itertools.product(range(1 + options.repeats), ways.items()):
            seconds = _seconds(run, steps, device)
            if turn > 0:  # in the first the process still takes its memory from the system
                rates[way].append(steps * options.batch / seconds)
    autocast = ours.trainer.autocast or torch.float32
    with FlopCounterMode(display=False) as counter:
        ours(1)
    flop = counter.get_total_flops() / options.batch
    return {
        "features": options.features,
        "batch": options.batch,
        "size": SIZE,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "precision": str(autocast).removeprefix("torch."),
        "steps": steps,
        "images_per_second": {way: [round(rate, 2) for rate in sorted(found)] for way, found in rates.items()},
        "gflop_per_image": round(flop / 1e9, 3),
        "gflops": round(statistics.median(rates["ours"]) * flop / 1e9, 1),
        "gflops_peak": round(_peak(device, autocast) / 1e9, 1),
    }


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """A row a measurement, as Markdown; the ratios are those of the medians."""
    lines = [
        "| F | batch | notebook (a) | data in memory (b) | ours (c) | c / a | c / b | GFLOP/s | of the peak |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for found in measured:
        notebook, in_memory, ours = map(statistics.median, found["images_per_second"].values())
        share = found["gflops"] / found["gflops_peak"]
        lines.append(
            f"| {found['features']} | {found['batch']} | {notebook:.4g} | {in_memory:.4g} | {ours:.4g} "
            f"| {ours / notebook:.2f} | {ours / in_memory:.2f} | {found['gflops']:.0f} "
            f"| {f'{share:.0%}' if share < 1 else '–'} |"  # above: the machine was busy while the peak was taken
        )
    return "\n".join(lines)


def _seconds(run: Callable[[int], None], steps: int, device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    run(steps)
    _wait(device)
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=64, help="F of both networks")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--embedding-dim", type=int, default=768)
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and noise")
    parser.add_argument("--steps", type=int, help="steps a turn; as many as fill some seconds when left out")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each way, after a step to warm up")
    parser.add_argument("--pictures", type=int, default=256, help="different pictures")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def _photos(folder: Path, count: int) -> list[Path]:
    """JPEGs of the size and the weight (about 50 kB) of Oxford's photos."""
    files = []
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 256, (67, 50, 3), dtype=np.uint8)
        path = folder / f"{index}.jpg"
        Image.fromarray(coarse).resize((500, 667), Image.Resampling.BICUBIC).save(path, quality=90)
        files.append(path)
    return files


def _pixels(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS))).permute(2, 0, 1)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _networks(options: argparse.Namespace, size: int) -> tuple[Generator, Discriminator]:
    torch.manual_seed(options.seed)
    return models.build(
        "dcgan",
        size=size,
        embedding_dim=options.embedding_dim,
        noise_dim=NOISE_DIM,
        features=options.features,
        text_projection=256,
        discriminator_text=True,
    )


class _PlainVectorToMap(VectorToMap):
    def forward(self, vectors: Tensor, output_size: list[int] | None = None) -> Tensor:
        return nn.ConvTranspose2d.forward(self, vectors[:, :, None, None])


class _PlainMapToLogit(MapToLogit):
    def forward(self, maps: Tensor, vectors: Tensor | None = None) -> Tensor:
        if vectors is not None:
            maps = torch.cat([maps, vectors[:, :, None, None].expand(-1, -1, *maps.shape[2:])], dim=1)
        return nn.Conv2d.forward(self, maps).flatten()


def make_plain(network: nn.Module) -> None:
    """Put torch's own convolutions in the place of ours, as a listing has them."""
    own = {
        VectorToMap: _PlainVectorToMap,
        MapToLogit: _PlainMapToLogit,
        MatmulConv2d: nn.Conv2d,
        MatmulConvTranspose2d: nn.ConvTranspose2d,
    }
    for layer in network.modules():
        layer.__class__ = own.get(type(layer), type(layer))


class _Photos(Dataset[tuple[Tensor, Tensor]]):
    """Each picture decoded when it is asked for, as course notebooks do."""

    def __init__(self, files: list[Path], embeddings: Tensor) -> None:
        self._files, self._embeddings = files, embeddings
        self._prepare = transforms.Compose(
            [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(io.BytesIO(self._files[index].read_bytes())) as image:
            return self._prepare(image.convert("RGB")), self._embeddings[index]


class Notebook:
    """The published listing's loop: float32, three passes of the discriminator a step, losses read every step."""

    def __init__(self, data: Dataset, options: argparse.Namespace, device: torch.device) -> None:
        self._device = device
        self._generator, self._discriminator = (network.to(device).train() for network in _networks(options, SIZE))
        for network in (self._generator, self._discriminator):
            make_plain(network)
        self._adam_g = torch.optim.Adam(self._generator.parameters(), 2e-4, (0.5, 0.999))
        self._adam_d = torch.optim.Adam(self._discriminator.parameters(), 2e-4, (0.5, 0.999))
        self._loader = DataLoader(data, options.batch, shuffle=True, drop_last=True)
        self._batches = self._endless()
        self.losses: list[tuple[float, float]] = []  # of discriminator and generator, a step each

    def _endless(self) -> Pairs:
        while True:
            yield from self._loader

    def __call__(self, steps: int) -> None:
        bce, l1, l2 = nn.BCELoss(), nn.L1Loss(), nn.MSELoss()
        generator, discriminator = self._generator, self._discriminator
        for images, text in itertools.islice(self._batches, steps):
            images, text = images.to(self._device), text.to(self._device)
            ones, zeros = torch.ones(len(images), device=self._device), torch.zeros(len(images), device=self._device)

            self._adam_d.zero_grad()
            fakes = generator(torch.randn(len(images), NOISE_DIM, device=self._device), text).detach()
            real = torch.sigmoid(discriminator(images, text)[0])
            wrong = torch.sigmoid(discriminator(images.roll(1, 0), text)[0])
            fake = torch.sigmoid(discriminator(fakes, text)[0])
            d_loss = bce(real, ones) + 0.5 * (bce(wrong, zeros) + bce(fake, zeros))
            d_loss.backward()
            self._adam_d.step()

            self._adam_g.zero_grad()
            fakes = generator(torch.randn(len(images), NOISE_DIM, device=self._device), text)
            judged, (features,) = discriminator(fakes, text)
            _, (real_features,) = discriminator(images, text)
            g_loss = bce(torch.sigmoid(judged), ones) + 50 * l1(fakes, images)
            g_loss = g_loss + 100 * l2(features.mean(0), real_features.mean(0).detach())
            g_loss.backward()
            self._adam_g.step()
            self.losses.append((d_loss.item(), g_loss.item()))


def prepared(pictures: Tensor, embeddings: Tensor) -> Prepared:
    """Pictures uint8 [N, 3, S, S] with an embedding [N, D] each, as training takes them."""
    numbers = np.arange(len(pictures))
    return Prepared(
        Pictures(pictures), numbers, numbers, [[""] for _ in numbers], embeddings, torch.arange(len(pictures))
    )


class Ours:
    """The trainer of the train stage."""

    def __init__(self, data: Prepared, options: argparse.Namespace, device: torch.device) -> None:
        self._data = Batches(data, options.batch, options.seed, device)
        adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
        self.trainer = Trainer(
            Networks(*_networks(options, self._data.size)),
            GanCls(feature_matching=100.0, pixel_l1=50.0),
            {"generator": adam, "discriminator": adam},
            device,
            seed=options.seed,
            ema_half_life=4414,
            autocast=runtime.autocast_dtype("auto", device),
        )
        self._batches = self._endless()
        self.losses: list[tuple[float, float]] = []  # of discriminator and generator, a turn's last step each

    def _endless(self) -> Pairs:
        for epoch in itertools.count():
            yield from self._data.epoch(epoch)

    def __call__(self, steps: int) -> None:
        for batch in itertools.islice(self._batches, steps):
            losses = self.trainer.advance(*batch)
        self.losses.append((float(losses["discriminator"]), float(losses["generator"])))


def _peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product, the best of ten."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(10):
        _wait(device)
        started = time.perf_counter()
        a @ b
        _wait(device)
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times)


if __name__ == "__main__":
    main()
