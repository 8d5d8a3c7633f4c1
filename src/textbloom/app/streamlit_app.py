"""The page of `make app`: a sentence in, pictures out, with the knobs that a trained generator has."""

from typing import Any

import streamlit as st
import torch
from torch import Tensor

from textbloom import config
from textbloom.app import models
from textbloom.core.errors import UserError
from textbloom.core.seeding import seed_for
from textbloom.dataset import prepared
from textbloom.sampling.generator import truncated
from textbloom.sampling.text_to_image import TextToImage
from textbloom.viz import png, samples

PICTURES = 8
VIEWS = ("Eight noises", "From noise to noise", "Nearest training pictures")
SHOWN = 256  # side in pixels at which a picture is shown and stored
EXAMPLES = (
    "a pink flower with a yellow center",
    "this flower has long white petals and a yellow middle",
    "bright red petals with wavy edges",
    "a purple flower with rounded petals and many stamens",
    "small orange petals around a dark brown centre",
)


def main() -> None:
    st.set_page_config(page_title="textbloom", page_icon="🌸", layout="wide")
    st.title("textbloom")
    model, name, seed, limit = _side()
    st.session_state.setdefault("sentence", EXAMPLES[0])
    sentence = st.text_input("Describe a flower", key="sentence", placeholder=EXAMPLES[0])
    with st.container(horizontal=True):
        for example in EXAMPLES:
            st.button(example, on_click=_take, args=(example,), type="tertiary")
    other, share = _other_sentence()
    try:
        text = model.embeddings([sentence])
        if share:
            text = torch.lerp(text, model.embeddings([other]), share)
    except UserError as error:
        st.info(f"{error}")
        return
    about = {"model": name, "seed": seed, "truncation": limit}
    if share:
        about |= {"towards": other, "share": share}
    # Not tabs: the page would wait for what stands on all of them.
    view = st.segmented_control("Show", VIEWS, default=VIEWS[0], key="view", label_visibility="collapsed")
    if view == VIEWS[1]:
        _walk(model, text, sentence, about)
        return
    pictures = _pictures(model, text, truncated(model.generator.noise(PICTURES, seed), limit))
    if view == VIEWS[2]:
        _neighbours(pictures, name)
    else:
        _gallery(pictures, sentence, about)


def _side() -> tuple[TextToImage, str, int, float]:
    """The model with its name, the seed and the truncation, as the side bar sets them."""
    with st.sidebar:
        name = st.selectbox(
            "Model",
            models.names(),
            help="What this folder has trained, its DVC experiments, and what textbloom comes with",
        )
        seed = int(st.number_input("Seed of the noise", min_value=0, value=0, step=1))
        limit = st.slider(
            "Truncation", 0.1, 3.0, 3.0, 0.1, help="No number of the noise is larger: less is calmer and more alike"
        )
        if name != models.OWN and models.OWN not in models.names():
            st.caption(
                "Nothing is trained here yet: these flowers come from a generator that textbloom brings. "
                "`make repro` trains your own."
            )
        try:
            with st.spinner("Opening the model …"):
                model = _opened(name, _version(name))
        except UserError as error:
            st.error(f"{error}")
            st.stop()
        size = model.generator.size
        st.caption(f"{size} × {size} pixels, captions by {model.generator.config['encoder']['name']}")
    return model, name, seed, limit


def _version(name: str) -> float:
    """When the project's own model was made, so that a new training is opened anew."""
    folder = config.trained(config.load().evaluate.model)
    return folder.stat().st_mtime if name == models.OWN else 0.0


@st.cache_resource(max_entries=3, show_spinner=False)
def _opened(name: str, version: float) -> TextToImage:
    return models.open_model(name)


def _take(example: str) -> None:
    st.session_state["sentence"] = example


def _other_sentence() -> tuple[str, float]:
    """A second sentence, and how far to go towards it, 0 to 1."""
    left, right = st.columns([2, 1])
    other = left.text_input("Towards another sentence", placeholder="a blue flower with a white centre", key="other")
    share = right.slider("How far", 0.0, 1.0, 0.5, 0.05, key="share", disabled=not other.strip())
    return other, share if other.strip() else 0.0


def _pictures(model: TextToImage, text: Tensor, noise: Tensor) -> list[Tensor]:
    """One picture for each noise [n, Z] of one embedding [1, D], uint8 [3, SHOWN, SHOWN]."""
    return [_enlarged(picture) for picture in model.generator.sample(text.expand(len(noise), -1), noise)]


def _gallery(pictures: list[Tensor], sentence: str, about: dict[str, Any]) -> None:
    """Pictures in rows of four, each with a button that saves it as PNG."""
    for start in range(0, len(pictures), 4):
        for number, column in enumerate(st.columns(4), start):
            file = png.encoded(pictures[number], sentence, {**about, "number": number})
            column.image(file, width="stretch")
            name = f"flower-{about['seed']}-{number}.png"
            column.download_button("Save as PNG", file, name, "image/png", key=f"png-{number}", on_click="ignore")


def _walk(model: TextToImage, text: Tensor, sentence: str, about: dict[str, Any]) -> None:
    """Pictures of one sentence from one noise to another, and a button for two other ones."""
    st.button("Another walk", on_click=lambda: st.session_state.update(walk=st.session_state.get("walk", 0) + 1))
    number = st.session_state.get("walk", 0)
    start, end = model.generator.noise(2, seed_for(about["seed"], "walk", number))
    noise = truncated(samples.spherical(start, end, PICTURES), about["truncation"])
    for step, (column, picture) in enumerate(zip(st.columns(PICTURES), _pictures(model, text, noise), strict=True)):
        column.image(png.encoded(picture, sentence, {**about, "walk": number, "step": step}), width="stretch")
    st.caption(f"“{sentence}” throughout; the noise turns from one draw to another at equal angles.")


def _neighbours(pictures: list[Tensor], name: str) -> None:
    """Beneath each picture the training picture nearest to it in pixels, where training was here."""
    if name != models.OWN or not config.IMAGES.is_file():
        st.info("The pictures that this model learned from are not in this folder, so none can be shown.")
        return
    training = _training()
    indices, distances = samples.nearest(torch.stack(pictures), training, 1)
    for column, picture, index, distance in zip(st.columns(PICTURES), pictures, indices, distances, strict=True):
        column.image(picture.permute(1, 2, 0).numpy(), width="stretch")
        column.image(training[index][0].permute(1, 2, 0).numpy(), width="stretch", caption=f"{distance.item():.0f}")
    st.caption(
        "Above: generated. Below: the nearest training picture, with the root mean square difference of their pixels, "
        "0 to 255, at 64 × 64."
    )


@st.cache_resource(show_spinner=False)
def _training() -> Tensor:
    """All training pictures, uint8 [N, 3, SHOWN, SHOWN]."""
    p = config.load()
    data = prepared.load(*config.PREPARED, splits=p.train.split_names)
    return torch.stack([_enlarged(picture) for picture in data.images[torch.arange(len(data))]])


def _enlarged(picture: Tensor) -> Tensor:
    """uint8 [3, S, S] to [3, SHOWN, SHOWN], smoothly."""
    large = torch.nn.functional.interpolate(picture[None].float(), (SHOWN, SHOWN), mode="bicubic", antialias=True)
    return large[0].round().clamp(0, 255).to(torch.uint8)


if __name__ == "__main__":
    main()
