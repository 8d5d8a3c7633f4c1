"""Encode every caption row once; the vectors are frozen from here on."""

from textbloom import config
from textbloom.core import runtime
from textbloom.core.tensors import save_tensors
from textbloom.dataset.prepared import read_captions
from textbloom.text import open_encoder


def main(p: config.Params) -> None:
    runtime.portable(p.portable)
    captions = read_captions(config.CAPTIONS)["caption"].tolist()
    encoder = open_encoder(**p.encoder.opened_by)
    encoder.check(captions)
    embeddings = encoder.encode(captions, p.encoder.batch_size)
    save_tensors(config.EMBEDDINGS, {"embeddings": embeddings}, {"encoder": encoder.metadata})


if __name__ == "__main__":
    config.run(main)
