"""`textbloom export`: a generator to take away, as safetensors and ONNX, with its card and an example."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData

from textbloom import config
from textbloom.app import data_card, models
from textbloom.core.files import read_json, replacing, write_json, write_text
from textbloom.core.tensors import save_tensors
from textbloom.sampling.generator import TrainedGenerator
from textbloom.text import hub
from textbloom.text.pretrained import PretrainedEncoder

ONNX = "generator.onnx"
EXAMPLE = """# Eight pictures of a sentence; needs `pip install onnxruntime sentence-transformers pillow`.
import sys
import numpy as np, onnxruntime
from PIL import Image
from sentence_transformers import SentenceTransformer

sentence, encoder = sys.argv[1], (sys.argv[2:] or ["{encoder}"])[0]
{text}
noise = np.random.default_rng(0).standard_normal((8, {noise_dim}), np.float32)
[pictures] = onnxruntime.InferenceSession("generator.onnx").run(None, {{"noise": noise, "text": text}})
rows = np.concatenate(list(pictures), axis=2).transpose(1, 2, 0)
Image.fromarray(np.uint8(np.clip(rows * 127.5 + 128, 0, 255))).save("pictures.png")
"""
TEXT = "text = SentenceTransformer(encoder).encode([sentence] * 8)"
BILINEAR = """model, signs = SentenceTransformer(encoder, device="cpu"), np.load("pooling.npz")
tokens = model.tokenizer(sentence, return_tensors="pt")
words = model.transformers_model(**tokens, output_hidden_states=True).hidden_states[{layers}].detach().numpy()
text = ((words @ signs["left"]) * (words @ signs["right"])).mean(1).repeat(8, 0)"""
CARD = """---
{{ card_data }}
---

# {{ name }}

A text-conditional GAN's generator: {{ size }}×{{ size }} pictures of English sentences, made by textbloom.

| | |
|---|---|
{% for what, value in facts.items() -%}
| {{ what }} | {{ value }} |
{% endfor %}
## Use

`generator.onnx` takes `noise`, standard normal float32 [n, {{ noise_dim }}], and `text`, the encoder's embeddings
float32 [n, {{ embedding_dim }}], and gives `picture`, float32 [n, 3, {{ size }}, {{ size }}] in [-1, 1].
{% if example %}`example.py` draws a sentence with it.{% else %}The encoder was trained with the pictures and comes with
the project alone: embed the sentences with `textbloom`.{% endif %} `generator.safetensors` has the same weights under
the names of textbloom's network, whose shape `config.json` holds.

## Measures

{% if metrics %}On {{ metrics.n_fake }} captions of the {{ metrics.split }} classes, judged by {{ metrics.extractor }}:

| measure | value |
|---|---|
{% for key, value in metrics.items() -%}
| {{ key }} | {{ value }} |
{% endfor %}{% else %}Not measured here; see where the model comes from.{% endif %}
## Limits

It draws what its training captions described, one subject a picture, from English sentences; colours of parts get mixed
up, and pictures of one caption resemble each other. It was made to compare methods, not to show real plants or animals.

## Rights

The weights learned from {{ data }}. {{ rights }}
"""
RIGHTS = {
    "drawn": "Those pictures and captions are drawn and written by textbloom itself.",
    "flowers102": "Its photos were gathered from the web for research (Nilsback and Zisserman 2008) and their rights "
    "are unclear; the captions are Reed et al.'s (2016). Use the weights for research and teaching.",
    "cub200": "Its photos were gathered from the web for research (Wah et al. 2011) and their rights are unclear; the "
    "captions are Reed et al.'s (2016). Use the weights for research and teaching.",
    "folder": "Their rights are those of the pictures' owners.",
}


def export(name: str, folder: Path) -> None:
    """Write the generator of the model `name` (see `models.names`) into `folder`, whole or not at all.

    Beside the project's own model stands what it learned from, as Croissant metadata, where the data are in place.
    """
    model = models.open_model(name)
    generator = model.generator
    encoder = generator.config["encoder"]
    plain = encoder["name"] in hub.ENCODERS
    dataset = config.load().data.dataset if name == models.OWN else next((d for d in RIGHTS if name.startswith(d)), "")
    with replacing(folder) as made:
        made.mkdir()
        save_tensors(made / "generator.safetensors", generator.network.state_dict())
        write_json(made / "config.json", generator.config)
        _write_onnx(generator, made / ONNX)
        if plain:
            public = hub.ENCODERS[encoder["name"]].hub
            text = TEXT
            if layers := encoder.get("bilinear_layers"):
                text = BILINEAR.format(layers=layers)
                assert isinstance(model.encoder, PretrainedEncoder)
                pooling = model.encoder.model[-1]
                np.savez(made / "pooling.npz", left=pooling.left.cpu().numpy(), right=pooling.right.cpu().numpy())
            example = EXAMPLE.format(encoder=public, text=text, noise_dim=generator.noise_dim)
            write_text(made / "example.py", example)
        if name == models.OWN and all(path.is_file() for path in data_card.FILES):
            write_json(made / "croissant.json", data_card.described())
        write_text(made / "README.md", str(_card(name, dataset, generator, plain)))


def _write_onnx(generator: TrainedGenerator, path: Path) -> None:
    """The generator as an ONNX graph: noise [n, Z] and text [n, D] to picture [n, 3, S, S], for any n."""
    network = generator.network.cpu()
    inputs = torch.zeros(2, generator.noise_dim), torch.zeros(2, generator.config["network"]["embedding_dim"])
    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of its dependencies
        torch.onnx.export(
            network,
            inputs,
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=["noise", "text"],
            output_names=["picture"],
            dynamic_shapes=({0: batch}, {0: batch}),
        )


def _card(name: str, dataset: str, generator: TrainedGenerator, example: bool) -> ModelCard:
    encoder = generator.config["encoder"]
    layers = encoder.get("bilinear_layers")
    pooled = f", bilinear pooling of its words after {layers} layers" if layers else ""
    facts = {
        "system": generator.config["network"]["name"],
        "parameters": f"{sum(weights.numel() for weights in generator.network.parameters()):,}",
        "text encoder": f"{encoder['name']}{pooled}, sha256 `{encoder['sha256']}`",
        "learned from": ", ".join(part["name"] for part in generator.config.get("pretrained", []))
        or "no other network",
        "data": dataset or "not known",
    }
    data = ModelCardData(library_name="textbloom", pipeline_tag="text-to-image", language="en", tags=["gan", dataset])
    return ModelCard.from_template(
        data,
        template_str=CARD,
        name=name,
        size=generator.size,
        noise_dim=generator.noise_dim,
        embedding_dim=generator.config["network"]["embedding_dim"],
        facts=facts,
        example=example,
        metrics=_metrics(name),
        data=f"the data set `{dataset}`" if dataset else "data that its folder does not name",
        rights=RIGHTS.get(dataset, "Ask whoever trained it."),
    )


def _metrics(name: str) -> dict[str, Any]:
    """What evaluation said of the project's own model, or of a shipped one; nothing of others."""
    measured = config.EVAL_METRICS if name == models.OWN else config.RESULTS / name / "eval.json"
    return read_json(measured) if measured.is_file() else {}
