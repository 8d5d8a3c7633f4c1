"""The parameters and the paths of the pipeline: the only reader and writer of params.yaml, checked and typed.

Stages and the app read both here and hand values and paths to the rooms, which never import this module. That is why
no stage of dvc.yaml depends on it: DVC follows the values through `params:` and the files through `deps:` and `outs:`.
"""

import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.comments import CommentedSeq

from textbloom.core import errors, locks
from textbloom.core.errors import UserError
from textbloom.core.files import read_text, write_json, write_text

BASE_PRESET = "drawn-dcgan-bert"  # over which every other one is laid
TRAINED_ENCODERS = ("char-cnn-rnn", "bag-of-ngrams")  # values of encoder.name that the project trains itself

# Where the files lie, relative to the project's root, which is the working directory of every stage.
PARAMS = Path("params.yaml")
PRESETS = Path("presets")
PIPELINE = Path("dvc.yaml")
LOCK = Path(".dvc/tmp/settings/lock")  # held by what reads params.yaml for long, and by what writes it

RAW = Path("data/raw")  # <dataset>/: the archives as published, and manifest.json
CAPTIONS = Path("data/captions.csv")
IMAGES = Path("data/images.safetensors")
IMAGE_IDS = Path("data/image_ids.csv")
REAL_FEATURES = Path("data/real_features.safetensors")  # of all prepared pictures, by the judge of evaluation
PHOTO_FEATURES = Path("data/photo_features.safetensors")  # for a text encoder trained here; else no tensor
TEXT_ENCODER = Path("data/text_encoder")  # a text encoder trained here, or a note that none was
EMBEDDINGS = Path("data/embeddings.safetensors")
PREPARED = (CAPTIONS, IMAGES, IMAGE_IDS, EMBEDDINGS)  # what `dataset.prepared.load` joins

SHIPPED = Path("shipped")  # <name>/: trained models that come with the project
RESULTS = Path("docs/results")  # <name>/: how they were measured
BASE = Path("models/base")  # what the train stage made
REFINED = Path("models/refined")  # what the refine stage made of it, for a system of two stages

DATA_METRICS = Path("metrics/data.json")
ENCODER_METRICS = Path("metrics/encoder.json")
TRAIN_METRICS = Path("metrics/train.json")
REFINE_METRICS = Path("metrics/refine.json")
EVAL_METRICS = Path("metrics/eval.json")
INTERVALS = Path("plots/intervals.csv")  # of the values of eval.json, which `dvc metrics diff` compares without them
MEMORISATION = Path("plots/memorisation.csv")
PROVENANCE = Path("metrics/provenance")  # versions, device, seconds, memory: `dvc metrics diff` never compares these

PLOTS = Path("plots")
DATA_SHEET = PLOTS / "data.png"
LOSSES = PLOTS / "losses.csv"
VALIDATION = PLOTS / "validation.csv"  # by epoch, where train.evaluate_every is set; else a header alone
REFINE_LOSSES = PLOTS / "losses_refine.csv"

DOWNLOADS = Path(".dvc/tmp/downloads")  # files of an unfinished download


def raw(dataset: str) -> Path:
    """The folder of a data set's archives."""
    return RAW / dataset


def attributes(dataset: str) -> Path | None:
    """The folder with what is known of each picture, of drawn flowers alone."""
    return raw(dataset) if dataset == "drawn" else None


def trained(which: Literal["base", "refined"]) -> Path:
    """The folder of the trained model that `evaluate.model` names."""
    return {"base": BASE, "refined": REFINED}[which]


def resume_root() -> Path:
    """Where unfinished runs keep their state: in DVC's main workspace.

    DVC removes the outputs of a stage before it runs, and the temporary workspace of an experiment after it.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".dvc/tmp/resume"


def _name(value: object) -> object:
    # torch-fidelity names some layers by their width: 768 means '768'.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Precision = Literal["auto", "fp32", "bf16"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A section of params.yaml: no other key is allowed, and no value is converted silently.

    A key without a default here has to stand in the file. A new key may have one: then nothing runs again until
    somebody writes the key into params.yaml, where the stages that list the section follow it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# Keys that some systems have nothing to do with, and the value that says so.
_PUBLISHED = ("dcgan", "gan-cls", "stackgan")
_OWN = ("projected-dcgan", "textbloom")
NOT_IN: dict[str, tuple[tuple[str, ...], Any]] = {
    "model.backbone": (_PUBLISHED, None),
    "model.text_basis": (_PUBLISHED, "variance"),
    "model.widths": ((*_PUBLISHED, "projected-dcgan"), None),
    "objective.mixed_captions": (_PUBLISHED, 0.0),
    "objective.cutmix": (_PUBLISHED, 0.0),
    "objective.saturation": (_PUBLISHED, 0.0),
    "objective.mode_seeking": (_PUBLISHED, 0.0),
    "objective.variety": (_PUBLISHED, 1),
    "objective.saturating": (_OWN, False),
    "objective.feature_matching": (_OWN, 0.0),
    "objective.label_smoothing": (_OWN, 0.0),
}


class Data(Section):
    dataset: Literal["drawn", "flowers102", "cub200", "folder"]
    path: str
    mirror: str | None
    checksums: Literal["published", "recorded"]
    split: Literal["class-disjoint", "oxford", "random", "random-classes", "none"]
    split_seed: Seed
    limit: Annotated[int, Field(ge=2)] | None


class Drawn(Section):
    count: Annotated[int, Field(ge=100, le=99999)]
    seed: Seed


class Captions(Section):
    per_image: Count | Literal["all"]


class Images(Section):
    size: Literal[64, 128, 256]
    fit: Literal["stretch", "crop", "pad"]
    box_share: Annotated[float, Field(gt=0, le=1)] | None
    random_crops: bool = False


class Encoder(Section):
    name: str
    revision: str | None
    path: str | None
    source: Literal["hub", "packages"]
    bilinear_layers: Count | None
    precision: Precision
    batch_size: Count

    @property
    def opened_by(self) -> dict[str, Any]:
        """The keywords of `text.open_encoder`."""
        return self.model_dump(exclude={"batch_size"}) | {"trained": TEXT_ENCODER}


class EncoderTraining(Section):
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    lr: Annotated[float, Field(gt=0)]
    lr_decay: Annotated[float, Field(gt=0, le=1)]
    precision: Precision


class Model(Section):
    name: Literal["dcgan", "gan-cls", "stackgan", "projected-dcgan", "textbloom"]
    noise_dim: Count
    features: Count
    text_projection: Count
    text_directions: Count | None
    text_basis: Literal["variance", "colours"]
    discriminator_text: bool
    widths: list[Count] | None
    discriminator_features: Annotated[int, Field(ge=8, multiple_of=8)]
    backbone: Literal["efficientnet-lite0", "efficientnet-lite2"] | None
    backbone_side: Annotated[int, Field(ge=32, le=512, multiple_of=32)]


class ObjectiveTerms(Section):
    matching_aware: bool
    negatives_weight: Annotated[float, Field(gt=0)]
    saturating: bool
    feature_matching: Weight
    pixel_l1: Weight
    variety: Count
    conditioning_kl: Weight
    label_smoothing: Annotated[float, Field(ge=0, le=0.5)]
    mixed_captions: Annotated[float, Field(ge=0, le=1)]
    cutmix: Annotated[float, Field(ge=0, le=1)]
    saturation: Weight = 0.0
    mode_seeking: Weight = 0.0


class Train(Section):
    splits: Literal["train", "train+val"]
    size: Literal[64, 128] | None
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    lr: Annotated[float, Field(gt=0)]
    discriminator_lr: Annotated[float, Field(gt=0)] | None
    lr_halving: Count | None
    lr_cooldown: Annotated[float, Field(ge=0, le=1)]
    beta1: Share
    beta2: Share
    ema_half_life: Annotated[float, Field(gt=0)]
    precision: Precision
    grid_every: Count
    flips: bool
    augment: Literal["none", "geometric"]
    devices: Count
    deterministic: bool
    accumulate: Count
    evaluate_every: Count | None = None
    evaluate_extractor: Literal["efficientnet-lite0", "efficientnet-lite2"] = "efficientnet-lite0"

    @property
    def split_names(self) -> list[str]:
        """The splits that training learns from."""
        return self.splits.split("+")


class Refine(Section):
    to: Annotated[list[Literal[128, 256]], Field(max_length=1)]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    lr: Annotated[float, Field(gt=0)]
    lr_halving: Count | None
    grid_every: Count
    accumulate: Count


class Evaluate(Section):
    split: Literal["val", "test"]
    model: Literal["base", "refined"]
    extractor: str
    weights: str | None
    layer: Annotated[str, BeforeValidator(_name)] | None
    samples: Annotated[int, Field(ge=100)]
    generator: Literal["ema", "raw", "best"]
    text_encoder: Literal["all-MiniLM-L6-v2", "all-mpnet-base-v2", "distilbert-base-uncased"]
    allow_training_network: bool


class Sample(Section):
    rows: Annotated[int, Field(ge=1, le=16)]
    columns: Annotated[int, Field(ge=1, le=16)]


class Params(Section):
    """All of params.yaml; its comments there say what each key means."""

    seed: Seed
    portable: bool
    data: Data
    drawn: Drawn
    captions: Captions
    images: Images
    encoder: Encoder
    encoder_training: EncoderTraining
    model: Model
    objective: ObjectiveTerms
    train: Train
    refine: Refine
    evaluate: Evaluate
    sample: Sample

    @model_validator(mode="after")
    def _fit_together(self) -> "Params":
        for misfit in self._misfits():
            raise ValueError(misfit)
        return self

    def _misfits(self) -> Iterator[str]:
        """What does not go together, each with its mend."""
        model, objective, train, refine, evaluate = self.model, self.objective, self.train, self.refine, self.evaluate
        if objective.matching_aware and not model.discriminator_text:
            yield (
                "objective.matching_aware: needs model.discriminator_text: true "
                "(a discriminator without text cannot tell a wrong caption); set one of the two"
            )
        for key, (systems, off) in NOT_IN.items():
            section, name = key.split(".")
            if model.name in systems and getattr(getattr(self, section), name) != off:
                yield f"{key}: model.name {model.name} has no such part; set it to {json.dumps(off)}"
        if objective.cutmix and model.text_basis != "colours":
            yield (
                "objective.cutmix: needs model.text_basis: colours, which tells the words for a picture's middle from "
                "the others; set one of the two"
            )
        if objective.cutmix + objective.mixed_captions > 1:
            yield "objective.cutmix: it and objective.mixed_captions exceed 1, all captions; lower one of the two"
        if objective.mode_seeking and (objective.variety < 2 or model.backbone is None):
            yield (
                "objective.mode_seeking: compares two noises of a caption in the features of a frozen network; set "
                "objective.variety to at least 2 and model.backbone to a network, or this to 0.0"
            )
        if train.size and train.size > self.images.size:
            yield (
                f"train.size: {train.size} is more than the pictures' {self.images.size} pixels (images.size); "
                "change one of them"
            )
        if refine.to and (self.images.size, train.size) != (refine.to[0], 64):
            yield (
                f"refine.to: a second stage of {refine.to[0]} pixels needs images.size: {refine.to[0]} and "
                "train.size: 64"
            )
        if evaluate.model == "refined" and not refine.to:
            yield "evaluate.model: refined needs a second stage; set refine.to to [128], or choose base"
        if evaluate.generator == "best" and train.evaluate_every is None:
            yield (
                "evaluate.generator: best is the epoch that train.evaluate_every chooses; set that to a number of "
                "epochs, such as 5, or evaluate.generator to ema"
            )
        if evaluate.generator == "best" and evaluate.model == "refined":
            yield (
                "evaluate.generator: best is an epoch of the first stage alone; set evaluate.model to base, or "
                "evaluate.generator to ema"
            )
        if train.evaluate_every is not None and "val" in train.split_names:
            yield (
                "train.evaluate_every: measures on the val pictures, from which training learns (train.splits: "
                "train+val); set train.splits to train, or train.evaluate_every to null"
            )
        for key, network in (("evaluate.extractor", evaluate.extractor), ("model.backbone", model.backbone)):
            if train.evaluate_every is not None and network == train.evaluate_extractor:
                yield (
                    f"train.evaluate_extractor: {network} is {key} too, and a network that judges or trains the "
                    "generator shall not choose its epoch; set one of the two to another network"
                )
        if evaluate.extractor == model.backbone and not evaluate.allow_training_network:
            yield (
                f"evaluate.extractor: {model.backbone} is model.backbone too, and what trained the generator shall not "
                "judge it; set another one, or evaluate.allow_training_network to true"
            )
        if evaluate.split in train.split_names:
            yield (
                "evaluate.split: training learns from the val pictures (train.splits: train+val); set train.splits to "
                "train, or evaluate.split to test"
            )
        sections: dict[str, Train | Refine] = {"train": train} | ({"refine": refine} if refine.to else {})
        for name, of in sections.items():
            if of.batch_size % (train.devices * of.accumulate):
                yield (
                    f"{name}.batch_size: {of.batch_size} is no multiple of train.devices ({train.devices}) times "
                    f"{name}.accumulate ({of.accumulate}); change one of them"
                )
            if of.batch_size == of.accumulate:
                yield (
                    f"{name}.accumulate: {of.accumulate} leaves single pictures of {name}.batch_size "
                    f"({of.batch_size}), which have no batch statistics and no wrong pair; lower it"
                )
        if refine.to and model.name != "stackgan":
            yield f"refine.to: model.name {model.name} has no second stage; set it to []"


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises UserError naming the first offending key and the mend."""
    return parse(_text(path), str(path))


def run(stage: Callable[[Params], None]) -> None:
    """Run a stage with the settings of params.yaml, which `textbloom params` leaves alone meanwhile.

    A failure meant for a person is one line, as `errors.run` says.
    """
    errors.run(lambda: _run(stage))


def _run(stage: Callable[[Params], None]) -> None:
    started = time.monotonic()
    noted = PROVENANCE / f"{_stage_name()}.json"
    with locks.shared(LOCK):
        params = load()
        noted.unlink(missing_ok=True)  # it is of an earlier run
        stage(params)
        confirm(params)
    if _stage_name():
        _record_cost(noted, time.monotonic() - started)


def _stage_name() -> str:
    """What DVC calls the stage that this process is, without the item of a `foreach`; "" where DVC did not start it."""
    return os.environ.get("DVC_STAGE", "").rpartition(":")[2].partition("@")[0]


def _record_cost(path: Path, seconds: float) -> None:
    """Add a stage's seconds and its most memory, of the machine and of a GPU, to what the stage itself noted there."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cost = {"seconds": round(seconds, 1), "memory_mib": peak // 1024}
    torch = sys.modules.get("torch")  # only some stages compute with it
    if torch is not None and torch.cuda.is_initialized():
        cost["gpu_memory_mib"] = torch.cuda.max_memory_allocated() >> 20
    noted = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, {**noted, **cost})


def confirm(params: Params) -> None:
    """Raise UserError unless the file still says `params` in the keys that DVC records when the stage ends."""
    name = _stage_name()
    try:
        stage = _yaml(_text(PIPELINE), str(PIPELINE))["stages"][name] if name else {}
    except (KeyError, TypeError):
        raise UserError(
            f"{PIPELINE}: has no stage {name} any more: bring back what it was when the stage began, and run again"
        ) from None
    listed = stage.get("do", stage).get("params", [])
    now = flat(load().model_dump())
    for key, value in flat(params.model_dump()).items():
        if value != now[key] and {key, key.partition(".")[0]} & set(listed):
            raise UserError(
                f"{PARAMS}: {key} was changed while this stage ran, and DVC would record what it was not made with: "
                f"set it back from {now[key]} to {value}, and run again"
            )


def flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def parse(text: str, source: str) -> Params:
    """Check the text of a params.yaml; `source` names it in errors."""
    values = _yaml(text, source)
    if not isinstance(values, dict):
        raise UserError(f"{source}: holds no sections; `git checkout {source}` brings them back")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        _refuse(error, source)


def _text(path: Path) -> str:
    return read_text(path, f"run from the project's root, or `git checkout {path}`")


def _yaml(text: str, source: str, reader: YAML | None = None) -> Any:
    # YAML 1.2, as DVC reads the file: 010 is ten, 1e-5 a number, a key that stands twice an error.
    try:
        return (reader or YAML(typ="safe")).load(text)
    # ValueError: of a date or a number that cannot be; LookupError: of a type; RecursionError: brackets without end.
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}") from None


def _refuse(error: ValidationError, source: str) -> NoReturn:
    details = error.errors()
    # An unknown key is often a missing one misspelt: name the unknown one first.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"][:2])  # further parts are places in lists and kinds of values
    if first["type"] == "extra_forbidden":
        raise UserError(f"{source}: {key}: unknown key; remove it or correct its spelling")
    if first["type"] == "missing":
        raise UserError(f"{source}: {key}: missing; add it back (`git diff {source}` shows what changed)")
    if first["type"] == "value_error" and not key:
        raise UserError(f"{source}: {first['ctx']['error']}")
    # Where values of several kinds may stand, each has an error of its own.
    messages = [detail["msg"] for detail in details if detail["loc"][:2] == first["loc"][:2]]
    wanted = " or ".join(dict.fromkeys(message.removeprefix("Input should be ") for message in messages))
    raise UserError(f"{source}: {key}: expected {wanted}, got {first['input']!r}")


def apply(
    preset: str | None,
    overrides: Iterable[str],
    path: Path = PARAMS,
    check: Callable[[Params], None] = lambda params: None,
) -> None:
    """Write `changed` into params.yaml, or nothing unless the result is valid and `check` raises nothing of it."""
    text = changed(preset, overrides, path)
    check(parse(text, str(path)))
    write_text(path, text)


def changed(preset: str | None, overrides: Iterable[str], path: Path = PARAMS) -> str:
    """The text of params.yaml with a preset and `key=value` overrides in it, its comments kept.

    A preset is laid over BASE_PRESET, so that what another one set before does not linger; keys that no preset sets,
    such as data.mirror, stay. Raises UserError for an unknown preset,
    key or value.
    """
    round_trip = YAML()
    round_trip.preserve_quotes = True
    round_trip.width = 4096
    # By default a null is written as nothing at all, which a person reads as a forgotten value.
    round_trip.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    document = _yaml(_text(path), str(path), round_trip)
    if not isinstance(document, dict):
        parse("", str(path))
    if preset is not None:
        for name in (BASE_PRESET, preset):
            _overlay(document, _preset(name), Params, f"{PRESETS / name}.yaml")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"SET: expected key=value, got {override!r}")
        nested = _value(key.split("."), value)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _overlay(document, nested, Params, "SET")
    buffer = io.StringIO()
    round_trip.dump(document, buffer)
    parse(buffer.getvalue(), str(path))
    return buffer.getvalue()


def _value(path: Sequence[str], text: str) -> Any:
    """The value that `text` means to the key at `path`: where any text may stand it is this one, with # and [ in it."""
    kind: Any = Params
    for part in path:
        fields = getattr(kind, "model_fields", {})
        kind = fields[part].annotation if part in fields else object
    try:
        TypeAdapter(kind).validate_python("any text", strict=True)
    except ValidationError:
        return _yaml(text, f"SET: the value of {'.'.join(path)}")
    return None if text == "null" else text


def presets() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _preset(name: str) -> dict[str, Any]:
    if name not in presets():
        raise UserError(f"preset {name!r} is unknown; there are: {', '.join(presets())}")
    preset = _yaml(_text(PRESETS / f"{name}.yaml"), f"{PRESETS / name}.yaml")
    if not isinstance(preset, dict):
        raise UserError(f"{PRESETS / name}.yaml: sets nothing: write the keys that it changes, as in params.yaml")
    return preset


def _overlay(document: Any, changes: Any, schema: type[Section], source: str, above: str = "") -> None:
    """Write `changes` of a section into `document`, which keeps its comments."""
    for key, value in changes.items():
        dotted = f"{above}{key}"
        if key not in schema.model_fields:
            raise UserError(f"{source}: {dotted}: unknown key; params.yaml lists them all")
        kind = schema.model_fields[key].annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            if not isinstance(value, dict):
                raise UserError(
                    f"{source}: {dotted}: is a section; set one of its keys, such as {dotted}."
                    f"{next(iter(kind.model_fields))}"
                )
            if not isinstance(document.get(key), dict):
                raise UserError(f"{PARAMS}: {dotted}: missing; add it back (`git diff {PARAMS}` shows what changed)")
            _overlay(document[key], value, kind, source, f"{dotted}.")
        elif isinstance(value, list):
            if document.get(key) != value:
                document[key] = CommentedSeq(value)
                document[key].fa.set_flow_style()  # in one line, beside its comment
        elif key not in document or document[key] != value or type(document[key]) is not type(value):
            document[key] = value
