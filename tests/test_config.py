"""params.yaml is read once, by types, and refused by the key's name."""

import shutil
from pathlib import Path

import pytest
import yaml

from textbloom import config
from textbloom.core.errors import UserError

ROOT = Path(__file__).parents[1]
DEFAULT = (ROOT / "params.yaml").read_text(encoding="utf-8")


def changed(key: str, value: str) -> config.Params:
    """The default with the line of `section.name` replaced by `name: value`."""
    section, name = key.split(".")
    lines, inside = DEFAULT.splitlines(), False
    for number, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            inside = line.startswith(f"{section}:")
        if inside and line.strip().startswith(f"{name}:"):
            lines[number] = f"  {value}" if ":" in value.split("#")[0] else f"  {name}: {value}"
            return config.parse("\n".join(lines), "params.yaml")
    raise AssertionError(key)


@pytest.mark.parametrize(
    ("written", "meant"), [("1e-5", 1e-5), ("1e-05", 1e-5), ("2e-4", 2e-4), ("1", 1.0), ("0.5", 0.5)]
)
def test_every_way_to_write_a_float_is_a_float(written, meant):
    value = changed("train.lr", written).train.lr
    assert value == meant
    assert isinstance(value, float)


def test_underscores_in_integers_are_digits():
    assert changed("drawn.count", "1_000").drawn.count == 1000


@pytest.mark.parametrize(
    ("key", "written", "said"),
    [
        ("train.lr", "fast", "'fast'"),
        ("train.lr", "true", "True"),
        ("train.lr", ".nan", "nan"),
        ("train.lr", "-1", "greater than 0"),
        ("train.epochs", "1e1", "10.0"),
        ("train.epochs", "2.5", "2.5"),
        ("images.size", "100", "64, 128 or 256"),
        ("data.dataset", "roses", "'roses'"),
        ("encoder.precision", "fp16", "fp16"),
        ("objective.matching_aware", "1", "boolean"),
        ("evaluate.layer", "true", "string"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(key, written, said):
    with pytest.raises(UserError, match=f"(?s){key}: expected .*{said}"):
        changed(key, written)


def test_a_layer_named_by_a_number_needs_no_quotes():
    assert changed("evaluate.layer", "768").evaluate.layer == changed("evaluate.layer", "'768'").evaluate.layer == "768"


def test_an_unknown_key_is_named_before_the_one_it_leaves_missing():
    with pytest.raises(UserError, match=r"train\.learning_rate: unknown key"):
        changed("train.lr", "learning_rate: 0.1")


def test_a_missing_key_is_named():
    values = yaml.safe_load(DEFAULT)
    del values["objective"]["pixel_l1"]
    with pytest.raises(UserError, match=r"objective\.pixel_l1: missing"):
        config.parse(yaml.safe_dump(values), "params.yaml")


def test_a_discriminator_without_text_cannot_be_matching_aware():
    with pytest.raises(UserError, match=r"objective\.matching_aware: needs model\.discriminator_text"):
        changed("model.discriminator_text", "false")


MEASURED = {"train.evaluate_every": 5, "train.splits": "train"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"evaluate.generator": "best"}, r"evaluate\.generator: best .* train\.evaluate_every .* or .* to ema"),
        ({"train.evaluate_every": 5}, r"train\.evaluate_every: .*: train\+val\); set train\.splits to train"),
        (
            {**MEASURED, "evaluate.extractor": "efficientnet-lite0"},
            r"train\.evaluate_extractor: efficientnet-lite0 is evaluate\.extractor too, .*; set one of the two",
        ),
        (
            {**MEASURED, "model.name": "textbloom", "objective.feature_matching": 0.0, "objective.pixel_l1": 0.0,
             "model.backbone": "efficientnet-lite0"},
            r"train\.evaluate_extractor: efficientnet-lite0 is model\.backbone too",
        ),
        (
            {**MEASURED, "evaluate.generator": "best", "evaluate.model": "refined", "refine.to": [128],
             "images.size": 128, "train.size": 64},
            r"evaluate\.generator: best is an epoch of the first stage alone; set evaluate\.model to base",
        ),
    ],
)  # fmt: skip
def test_an_epoch_is_chosen_on_pictures_and_by_a_network_that_nothing_else_uses(values, said):
    with pytest.raises(UserError, match=said):
        several(values)
    assert several({**MEASURED, "evaluate.generator": "best"}).train.evaluate_extractor == "efficientnet-lite0"


def several(values):
    """Parameters of system A, with these changed."""
    document = yaml.safe_load(DEFAULT)
    for section, keys in yaml.safe_load((ROOT / "presets" / f"{config.BASE_PRESET}.yaml").read_text()).items():
        document[section] |= keys
    for key, value in values.items():
        section, name = key.split(".")
        document[section][name] = value
    return config.parse(yaml.safe_dump(document), "params.yaml")


def test_training_at_more_pixels_than_the_pictures_have_is_refused():
    with pytest.raises(UserError, match=r"train\.size: 128 is more than the pictures' 64 pixels \(images\.size\)"):
        changed("train.size", "128")


def test_values_cannot_be_changed_after_loading():
    with pytest.raises(ValueError, match="frozen"):
        config.parse(DEFAULT, "params.yaml").train.lr = 1.0


def test_every_key_has_a_comment_and_every_key_of_the_file_is_in_the_schema_in_its_order():
    for line in DEFAULT.splitlines():
        if line.startswith("  ") or line.startswith("seed"):
            assert "# " in line, line
    values = yaml.safe_load(DEFAULT)
    assert list(values) == list(config.Params.model_fields)
    for name, section in values.items():
        if isinstance(section, dict):
            # A key that has a default may be absent: written down, it would run the stages that list its section.
            known = config.Params.model_fields[name].annotation.model_fields
            assert list(section) == [key for key in known if key in section or known[key].is_required()], name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"train: [", r"params\.yaml is not YAML"),
        (b"seed: 1\nseed: 2\n", r"params\.yaml is not YAML: .*duplicate key"),
        (b"<<<<<<< HEAD\nseed: 1\n=======\nseed: 2\n>>>>>>> other\n", r"params\.yaml is not YAML: .*line 2"),
        (b"seed: 2024-13-45", r"params\.yaml is not YAML"),
        (b"seed: " + b"1" * 5000, r"params\.yaml is not YAML"),
        ("seed: 1\n# grün".encode("cp1252"), r"params\.yaml: line 2: byte 0xfc is not UTF-8: save it as UTF-8"),
        ("seed: 1".encode("utf-16"), r"params\.yaml: line 1: byte 0xff is not UTF-8"),
        ("seed: 1".encode("utf-16-le"), r"params\.yaml is not YAML"),
        (b"", r"params\.yaml: holds no sections"),
        (b"seed", r"params\.yaml: holds no sections"),
    ],
)
def test_a_broken_file_is_one_line_when_it_is_read_and_when_it_is_changed(project, content, said):
    (project / "params.yaml").write_bytes(content)
    for read in (config.load, lambda: config.apply(None, ["seed=2"])):
        with pytest.raises(UserError, match=said) as refused:
            read()
        assert "\n" not in str(refused.value)


def test_a_key_with_a_default_may_be_absent_and_is_written_when_set(project, monkeypatch):
    class Later(config.Train):
        patience: config.Count = 3

    class WithLater(config.Params):
        train: Later

    monkeypatch.setattr(config, "Params", WithLater)
    assert config.load().train.patience == 3
    config.apply(None, ["train.patience=4"])
    assert config.load().train.patience == 4


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(DEFAULT, encoding="utf-8")
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def comments(text: str) -> list[str]:
    return [line.split("#", 1)[1].strip() for line in text.splitlines() if "#" in line]


def test_overrides_change_their_keys_alone_and_keep_every_comment(project):
    config.apply(None, ["train.lr=1e-4", "data.mirror=http://127.0.0.1:8000/", "data.limit=200", "encoder.path=a=b"])
    text = (project / "params.yaml").read_text(encoding="utf-8")
    after, before = config.load(), config.parse(DEFAULT, "")
    assert (after.train.lr, after.data.mirror, after.data.limit) == (1e-4, "http://127.0.0.1:8000/", 200)
    assert after.encoder.path == "a=b"
    assert comments(text) == comments(DEFAULT)
    assert after.objective == before.objective and after.model == before.model


@pytest.mark.parametrize(
    "path", ["/x/pics #1", "[2024] trip", "@x", "%x%", "*.jpg", "010", "a: b", "'quoted'", "{x}", "!x", "true", "~"]
)
def test_a_text_is_taken_as_it_stands(project, path):
    config.apply(None, [f"data.path={path}", f"data.mirror={path}", f"evaluate.layer={path}"])
    after = config.load()
    assert (after.data.path, after.data.mirror, after.evaluate.layer) == (path, path, path)
    assert comments((project / "params.yaml").read_text(encoding="utf-8")) == comments(DEFAULT) or "#" in path
    config.apply(None, ["data.mirror=null"])
    assert config.load().data.mirror is None


def test_a_number_is_decimal_as_dvc_reads_it(project):
    config.apply(None, ["train.epochs=010", "data.limit=1_000", "train.lr=2e-4"])
    after = config.load()
    assert (after.train.epochs, after.data.limit, after.train.lr) == (10, 1000, 2e-4)
    assert changed("train.epochs", "010").train.epochs == 10


def test_a_list_is_written_beside_its_comment(project):
    config.apply("drawn-textbloom", ["model.widths=[8,16]"])
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert config.load().model.widths == [8, 16]
    assert "  widths: [8, 16]  " in text and comments(text) == comments(DEFAULT)
    config.apply("drawn-projected-dcgan", ["model.widths=null"])
    assert (project / "params.yaml").read_text(encoding="utf-8") == DEFAULT


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["refine.to=[128]"], r"refine\.to: .*needs images\.size: 128 and train\.size: 64"),
        (
            ["refine.to=[128]", "images.size=128", "train.size=64"],
            r"refine\.to: model\.name projected-dcgan has no second stage; set it to \[\]",
        ),
        (["refine.to=[64]"], r"refine\.to"),
        (["evaluate.model=refined"], r"evaluate\.model: refined needs a second stage"),
        (["evaluate.extractor=efficientnet-lite0"], r"evaluate\.extractor: .* shall not judge it; set another one"),
        (["evaluate.split=val"], r"evaluate\.split: .*set train\.splits to train, or evaluate\.split to test"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused_with_the_mend(project, changes, said):
    with pytest.raises(UserError, match=said):
        config.apply(None, changes)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.speed=1", r"train\.speed: unknown key"),
        ("train=1", r"train: is a section"),
        ("train.lr", "key=value"),
        ("train.lr=zero", r"train\.lr: expected"),
        ("train.lr=", r"train\.lr: expected"),
        ("train.lr=[", r"SET: the value of train\.lr is not YAML"),
        ("seed.more=1", r"seed: expected"),
        ("captions.per_image=ALL", r"captions\.per_image: expected a valid integer or 'all', got 'ALL'"),
        ("model.widths=[8,0]", r"model\.widths: expected"),
        ("seed=!!bool z", r"SET: the value of seed is not YAML"),
        (f"seed={'[' * 5000}", r"SET: the value of seed is not YAML"),
    ],
)
def test_a_refused_override_leaves_the_file_as_it_was(project, override, said):
    with pytest.raises(UserError, match=said):
        config.apply(None, [override])
    assert (project / "params.yaml").read_text(encoding="utf-8") == DEFAULT
    assert sorted(path.name for path in project.iterdir()) == ["params.yaml", "presets"]


def test_a_file_without_a_section_is_refused_when_the_section_is_set(project):
    for text in (DEFAULT.replace("train:", "training:"), DEFAULT[: DEFAULT.index("\ntrain:")] + "\ntrain: 5\n"):
        (project / "params.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"params\.yaml: train: missing; add it back"):
            config.apply(None, ["train.epochs=3"])
        assert (project / "params.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- seed\n", "seed\n"])
def test_a_preset_that_sets_nothing_is_refused(project, text):
    (project / "presets").unlink()  # a link to the real ones
    shutil.copytree(ROOT / "presets", project / "presets")
    (project / "presets/mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"presets/mine\.yaml: sets nothing"):
        config.apply("mine", [])


def test_an_unknown_preset_is_refused_with_the_known_ones(project):
    with pytest.raises(UserError, match=r"'roses' is unknown; there are: .*flowers102-dcgan-bert"):
        config.apply("roses", [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.text_basis=variance"], "objective.cutmix: needs model.text_basis: colours"),
        (["objective.mode_seeking=1", "objective.variety=1"], "objective.mode_seeking: compares two noises"),
        (["objective.mode_seeking=1", "model.backbone=null"], "objective.mode_seeking: compares two noises"),
        (["objective.mixed_captions=0.6"], "objective.cutmix: it and objective.mixed_captions exceed 1"),
        (["model.name=dcgan", "model.backbone=null", "model.text_basis=variance"], "objective.cutmix"),
        (
            ["model.name=dcgan", "model.backbone=null", "model.text_basis=variance", "objective.cutmix=0"],
            "objective.saturation",
        ),
    ],
)
def test_composed_captions_need_directions_by_colour_and_captions_to_compose(project, settings, message):
    with pytest.raises(UserError, match=message):
        config.apply(None, settings)


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "presets").glob("*.yaml")])
def test_every_preset_is_valid_and_undone_by_the_embedded_default(project, name):
    config.apply(name, [])
    config.load()
    config.apply("drawn-projected-dcgan", [])
    assert (project / "params.yaml").read_text(encoding="utf-8") == DEFAULT


def test_a_preset_leaves_nothing_behind_for_the_next_and_touches_no_key_that_none_sets(project):
    config.apply("drawn-plain", ["data.mirror=kept"])
    alone = (project / "params.yaml").read_text(encoding="utf-8")
    config.apply("cub200-dcgan-bert", ["train.epochs=3"])
    config.apply("drawn-plain", [])
    assert (project / "params.yaml").read_text(encoding="utf-8") == alone
    assert config.load().data.mirror == "kept"


def test_the_published_preset_states_the_published_configuration(project):
    config.apply("flowers102-dcgan-bert", [])
    p = config.load()
    assert (p.model.features, p.train.batch_size, p.train.epochs) == (128, 1024, 500)
    assert (p.train.lr, p.train.beta1, p.train.beta2) == (2e-4, 0.5, 0.999)
    assert (p.objective.feature_matching, p.objective.pixel_l1) == (100.0, 50.0)
    assert (p.model.noise_dim, p.model.text_projection, p.encoder.name) == (100, 256, "all-mpnet-base-v2")


def test_the_presets_of_system_c_have_its_random_crops_and_flips(project):
    for preset in ("cub200-stackgan", "flowers102-stackgan", "drawn-stackgan"):
        config.apply(preset, [])
        p = config.load()
        assert p.images.random_crops and p.train.flips


def test_system_c_on_flowers_is_that_on_birds_but_for_the_data(project):
    config.apply("cub200-stackgan", ["data.dataset=flowers102", "images.box_share=null"])
    birds = config.load()
    config.apply("flowers102-stackgan", [])
    assert config.load() == birds
