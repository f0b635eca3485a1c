"""Files of weights from the Hugging Face hub and from publishers: pinned, checked, kept in a cache.

- `hf:owner/name@commit` or `hf:owner/name@commit:file`; model.safetensors if no file is named. The commit is whole, 40
  hexadecimal digits: what a branch or a tag stands for may change. huggingface_hub fetches the file into its cache and
  asks no server for one that is there; its variables hold: HF_HUB_OFFLINE, HF_HOME, HF_ENDPOINT, HF_TOKEN.
- `torchvision:file`: where torchvision keeps what it has fetched, in $TORCH_HOME/hub/checkpoints.
- `https://server/folder/file`, for which the digest must be given. It is kept in ~/.cache/jaxvision, or under
  XDG_CACHE_HOME; HF_HUB_OFFLINE holds here too.
"""

import hashlib
import http.client
import os
import pathlib
import re
import shutil
import urllib.request
import uuid

from jaxvision.weights.errors import DigestError, WeightsError

HUB = re.compile(r"hf:(?P<repo>[^/@:]+/[^/@:]+)(@(?P<commit>[^:]*))?(:(?P<file>.+))?")
URL = re.compile(r"https?://[^/]+/(?:.+/)?(?P<file>[^/?#]+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
DIGEST = re.compile(r"[0-9a-f]{8,64}")
SECONDS = 60  # without a byte from the server


def is_remote(source: str | os.PathLike[str]) -> bool:
    """Tells a source of this file's grammar from a path."""
    return isinstance(source, str) and source.startswith(("hf:", "torchvision:", "https://", "http://"))


def fetch(source: str, sha256: str = "") -> pathlib.Path:
    """Returns the path of a remote file in the cache, fetching it if it is not there.

    Args:
        source: as above.
        sha256: what is known of the file's digest.

    Raises:
        WeightsError: the source is not one, or cannot be fetched: what it was and what to do.
    """
    try:
        if source.startswith("hf:"):
            return _from_hub(source)
        if source.startswith("torchvision:"):
            return _from_torchvision(source.removeprefix("torchvision:"))
        return _from_url(source, sha256.lower())
    except WeightsError as error:
        raise type(error)(f"{source}: {error}") from error


def check_digest(data: bytes, sha256: str) -> None:
    """Compares the SHA-256 of a file with the first eight digits or more of the one expected; with "" nothing.

    Raises:
        DigestError: it is another.
        WeightsError: what is expected is no digest.
    """
    if not sha256:
        return
    if not DIGEST.fullmatch(sha256.lower()):
        raise WeightsError(f"sha256 must be 8 to 64 hexadecimal digits, got {sha256!r}")
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(sha256.lower()):
        raise DigestError(f"its SHA-256 is {digest}, not {sha256}: the file is damaged or another one")


def promised_digest(path: pathlib.Path) -> str:
    """Returns the SHA-256 that the hub promised for a file in its cache, "" where it promised none.

    The cache calls a large file by its ETag, which is its digest.
    """
    name = path.resolve().name
    return name if len(name) == 64 and DIGEST.fullmatch(name) else ""


def _from_hub(source: str) -> pathlib.Path:
    parts = HUB.fullmatch(source)
    if not parts:
        raise WeightsError("a source on the hub is written hf:owner/name@commit or hf:owner/name@commit:file")
    repo, commit, file = parts["repo"], parts["commit"], parts["file"] or "model.safetensors"
    if not COMMIT.fullmatch(commit or ""):
        raise WeightsError(
            f"needs the whole commit, 40 hexadecimal digits, not {commit or 'none'}: "
            f"choose one of https://huggingface.co/{repo}/commits/main and write hf:{repo}@COMMIT"
        )
    import huggingface_hub

    try:
        return pathlib.Path(huggingface_hub.hf_hub_download(repo, file, revision=commit))
    except Exception as error:  # of several libraries, and other ones from version to version
        raise WeightsError(_advice(error, repo, file)) from error


def _advice(error: Exception, repo: str, file: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError):
        if offline():
            return "it is not in the cache, and HF_HUB_OFFLINE is set: fetch it once without"
        return f"it is not in the cache, and the hub cannot be reached ({_brief(error.__cause__)}): check the network"
    if isinstance(error, errors.GatedRepoError):
        return f"accept the conditions of https://huggingface.co/{repo}, and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no repository {repo}, or it is private: then set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no such commit: see https://huggingface.co/{repo}/commits/main"
    if isinstance(error, errors.EntryNotFoundError):
        return f"there is no file {file} at that commit: name another, hf:{repo}@COMMIT:FILE"
    return f"it could not be fetched, try again: {_brief(error)}"


def _brief(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error!s:.200}"


def _from_torchvision(file: str) -> pathlib.Path:
    home = os.environ.get("TORCH_HOME") or _caches() / "torch"
    path = pathlib.Path(home, "hub", "checkpoints", file)
    if not path.exists():
        raise WeightsError(
            f"{path} does not exist: let torchvision fetch the file once, or get it from where its documentation "
            "says and give source= its path"
        )
    return path


def _from_url(url: str, sha256: str) -> pathlib.Path:
    parts = URL.fullmatch(url)
    if not parts:
        raise WeightsError("the address names no file")
    if not DIGEST.fullmatch(sha256):
        raise WeightsError("a file from an address needs its sha256, 8 hexadecimal digits or more")
    path = _caches() / "jaxvision" / sha256 / parts["file"]
    if path.exists():
        return path
    if offline():
        raise WeightsError(f"it is not in the cache, and HF_HUB_OFFLINE is set: fetch it once without, or to {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        _download(url, temporary)
        check_digest(temporary.read_bytes(), sha256)
        os.replace(temporary, path)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"it could not be fetched, try again: {_brief(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _download(url: str, path: pathlib.Path) -> None:
    from huggingface_hub.utils import tqdm

    with urllib.request.urlopen(url, timeout=SECONDS) as response, path.open("wb") as file:
        size = int(response.headers.get("Content-Length", 0)) or None
        with tqdm.wrapattr(file, "write", total=size, desc=url.rpartition("/")[2]) as counted:
            shutil.copyfileobj(response, counted)


def _caches() -> pathlib.Path:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")


def offline() -> bool:
    """Tells whether HF_HUB_OFFLINE forbids to ask any server."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE
