"""The app's page: pictures of a sentence, what each knob changes, and plain words where something is missing."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from support import browser

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src/textbloom/app/streamlit_app.py"


def opened() -> AppTest:
    return AppTest.from_file(str(PAGE), default_timeout=300).run()


def shown(page: AppTest) -> list[str]:
    """The addresses of all pictures: names that their bytes decide."""
    assert not page.exception
    return [image.url for element in page.get("image") for image in element.proto.imgs]


def test_a_page_of_pictures_follows_its_knobs(project):
    page = opened()
    first = shown(page)
    assert len(set(first)) == 8
    other_sentence = shown(page.text_input(key="sentence").set_value("a blue flower").run())
    assert not set(other_sentence) & set(first)
    halfway = shown(page.text_input(key="other").set_value("a red flower").run())
    assert not set(halfway) & set(other_sentence)
    assert not set(shown(page.slider(key="share").set_value(1.0).run())) & set(halfway)
    page.text_input(key="other").set_value("")
    assert shown(page.run()) == other_sentence
    assert shown(page.button[0].click().run()) == first  # the first example is where the page began
    assert not set(shown(page.sidebar.number_input[0].set_value(1).run())) & set(first)
    page.sidebar.number_input[0].set_value(0)
    assert not set(shown(page.sidebar.slider[0].set_value(0.5).run())) & set(first)
    walk = shown(page.button_group(key="view").set_value("From noise to noise").run())
    assert len(set(walk)) == 8
    [another] = [button for button in page.button if button.label == "Another walk"]
    assert not set(shown(another.click().run())) & set(walk)
    page.button_group(key="view").set_value("Nearest training pictures").run()
    assert "not in this folder" in page.info[0].value
    page.text_input(key="sentence").set_value(" ").run()
    assert not page.exception and "an empty sentence" in page.info[0].value


def test_before_any_training_a_shipped_model_draws_and_the_page_says_so(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "shipped", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    page = opened()
    assert len(set(shown(page))) == 8
    assert "Nothing is trained here yet" in page.sidebar.caption[0].value


def test_a_model_that_cannot_be_had_is_one_line(project):
    (project / "models/base/generator-ema.safetensors").unlink()
    page = opened()
    assert not page.exception and not shown(page)
    assert "generator-ema.safetensors is missing" in page.error[0].value


@pytest.mark.slow
def test_in_a_real_browser_a_typed_sentence_changes_the_pictures(tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(PAGE), "--server.port", str(port)]
    app = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    try:
        asyncio.run(typed(chromium, tmp_path, f"http://127.0.0.1:{port}"))
    finally:
        app.terminate()
        app.wait()


async def typed(chromium: str, folder: Path, url: str) -> None:
    pictures = "[...document.querySelectorAll('[data-testid=stImage] img')].map(picture => picture.src)"
    for name, width, height, dark in (("app", 1200, 1000, False), ("app-phone", 420, 900, True)):
        async with browser.page(chromium, folder / name, url, width, height, dark) as page:
            await page.until(f"{pictures}.length == 8")
            first = await page.value(pictures)
            await page.value("document.querySelector('input[aria-label=\"Describe a flower\"]').select()")
            await page.call("Input.insertText", text="a white flower with thin petals")
            await page.press("Enter", 13)
            after = await page.until(f"({pictures}).every(src => !{first}.includes(src)) && {pictures}")
            assert len(set(after)) == 8
            await page.until("[...document.querySelectorAll('[data-testid=stImage] img')].every(p => p.complete)")
            await page.save(folder / f"{name}.png")
