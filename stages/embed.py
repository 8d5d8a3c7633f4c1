"""Encode every caption row once; the vectors are frozen from here on."""

from textbloom import config
from textbloom.core import runtime
from textbloom.core.tensors import save_tensors
from textbloom.dataset.prepared import read_captions
from textbloom.text import open_encoder


def main(p: config.Params) -> None:
    runtime.portable(p.portable)
    captions = read_captions(config.CAPTIONS)["caption"].tolist()
    e = p.encoder
    encoder = open_encoder(
        e.name, e.revision, e.path, e.precision, e.source, e.bilinear_layers, trained=config.TEXT_ENCODER
    )
    encoder.check(captions)
    embeddings = encoder.encode(captions, p.encoder.batch_size)
    save_tensors(config.EMBEDDINGS, {"embeddings": embeddings}, {"encoder": encoder.metadata})


if __name__ == "__main__":
    config.run(main)
