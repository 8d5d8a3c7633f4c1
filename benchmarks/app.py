"""From Enter to pictures: seconds that the app's page takes for sentences it has not seen, after start-up.

    PYTHONPATH=src python benchmarks/app.py    # after `make setup`, on a quiet machine

Each sentence is one rerun of the page by Streamlit's AppTest: eight pictures by the shipped generator, encoded as PNG.
What a browser adds, the way to it and the drawing, is not in it.
"""

import argparse
import statistics
import time
from itertools import product
from pathlib import Path

import torch
from streamlit.testing.v1 import AppTest

from textbloom.app import models, streamlit_app

COLOURS = ("red", "pink", "orange", "yellow", "white", "purple", "blue", "magenta", "cream", "violet")
CENTRES = ("a yellow centre", "a dark brown middle", "long white stamens", "wavy edges", "many thin petals")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the app's page, one sentence after the other.")
    parser.add_argument("--sentences", type=int, default=len(COLOURS) * len(CENTRES), help="how many (default 50)")
    options = parser.parse_args()
    began = time.perf_counter()
    page = AppTest.from_file(str(Path(streamlit_app.__file__)), default_timeout=600).run()
    if models.names()[0] != models.SHIPPED:
        page.sidebar.selectbox[0].set_value(models.SHIPPED).run()
    start_up = time.perf_counter() - began
    sentences = [f"a {colour} flower with {centre}" for centre, colour in product(CENTRES, COLOURS)]
    seconds = [_enter(page, sentence) for sentence in sentences[: options.sentences]]
    p50, p95 = statistics.median(seconds), statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    print(f"{len(seconds)} sentences, {torch.get_num_threads()} threads; start-up {start_up:.1f} s")
    print(f"from Enter to eight pictures: p50 {p50:.3f} s, p95 {p95:.3f} s, most {max(seconds):.3f} s")


def _enter(page: AppTest, sentence: str) -> float:
    """Seconds from a typed sentence to its pictures."""
    began = time.perf_counter()
    page.text_input(key="sentence").set_value(sentence).run()
    took = time.perf_counter() - began
    pictures = {image.url for element in page.get("image") for image in element.proto.imgs}
    assert not page.exception and len(pictures) == streamlit_app.PICTURES
    return took


if __name__ == "__main__":
    main()
