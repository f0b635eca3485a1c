"""Weights from the hub and from publishers' servers: the real client against a server on this machine."""

import contextlib
import hashlib
import importlib
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.weights import WeightsError
from tests.hub_server import running_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/lenet"
SOURCE = f"hf:{REPO}@{COMMIT}"
MODEL = jv.create_model("lenet5")


def random_variables(seed):
    draw = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), abstract_variables(MODEL))


def contents(folder, variables, layout="jaxvision"):
    jv.save_weights(MODEL, variables, folder / "temporary.safetensors", layout=layout, overwrite=True)
    return (folder / "temporary.safetensors").read_bytes()


def assert_same(variables, expected):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), variables, expected)


def take_client():
    """Removes huggingface_hub from the imported modules and returns what was removed."""
    names = [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture(scope="module")
def server():
    """The client reads its environment when it is imported: it is imported anew."""
    with running_hub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.address)
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        before = take_client()
        yield hub
        take_client()
        sys.modules.update(before)


@pytest.fixture
def constants(server):
    return importlib.import_module("huggingface_hub.constants")


@pytest.fixture
def hub(server, constants, monkeypatch, tmp_path):
    """A hub with one repository and empty caches; the client does not wait before it tries again."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.files = {
        (REPO, COMMIT, "model.safetensors"): contents(tmp_path, random_variables(0)),
        (REPO, COMMIT, "torch/other.safetensors"): contents(tmp_path, random_variables(1), layout="torch"),
    }
    server.damaged, server.drops, server.down = False, 0, False
    server.requests.clear()
    return server


def downloads(hub):
    return [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]


def data_of(hub, file="model.safetensors"):
    return hub.files[REPO, COMMIT, file]


def address(hub):
    """The same file, as from a publisher's server."""
    return f"{hub.address}/{REPO}/resolve/{COMMIT}/model.safetensors"


def digest(hub):
    return hashlib.sha256(data_of(hub)).hexdigest()


def damage(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_file_is_fetched_once(hub):
    assert_same(jv.load_weights(MODEL, SOURCE), random_variables(0))
    assert len(downloads(hub)) == 1
    hub.requests.clear()
    assert_same(jv.load_weights(MODEL, SOURCE, sha256=digest(hub)), random_variables(0))
    assert hub.requests == []


def test_another_file_of_the_repository(hub):
    assert_same(jv.load_weights(MODEL, f"{SOURCE}:torch/other.safetensors"), random_variables(1))


def test_the_variables_of_the_environment_hold(hub, tmp_path):
    """In processes of their own: fetched with the network, then read without."""
    code = f"import jaxvision as jv; print(len(jv.load_weights(jv.create_model('lenet5'), {SOURCE!r})['params']))"
    fresh = {"HF_HOME": str(tmp_path / "home"), "JAX_PLATFORMS": "cpu"}

    def run(**variables):
        environment = os.environ | fresh | variables
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert run(HF_ENDPOINT=hub.address).stdout == "2\n"
    hub.requests.clear()
    assert run(HF_ENDPOINT=hub.address, HF_HUB_OFFLINE="1").stdout == "2\n"
    assert hub.requests == []


def test_offline(hub, constants, monkeypatch):
    jv.load_weights(MODEL, SOURCE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert_same(jv.load_weights(MODEL, SOURCE), random_variables(0))
    source = f"{SOURCE}:torch/other.safetensors"
    with pytest.raises(WeightsError, match=rf"{re.escape(source)}: it is not in the cache, and HF_HUB_OFFLINE is set"):
        jv.load_weights(MODEL, source)
    assert hub.requests == []


@pytest.mark.parametrize(("source", "message"), [
    ("hf:someone/none@" + COMMIT, "no repository someone/none, or it is private: then set HF_TOKEN"),
    ("hf:gated/none@" + COMMIT, "accept the conditions of https://huggingface.co/gated/none, and set HF_TOKEN"),
    (f"hf:{REPO}@{'f' * 40}", f"no such commit: see https://huggingface.co/{REPO}/commits/main"),
    (SOURCE + ":none.safetensors", f"no file none.safetensors at that commit: name another, hf:{REPO}@COMMIT:FILE"),
    ("hf:lenet", "written hf:owner/name@commit or hf:owner/name@commit:file"),
    (f"hf:{REPO}", f"40 hexadecimal digits, not none: .* https://huggingface.co/{REPO}/commits/main and write"),
    (f"hf:{REPO}@main", "40 hexadecimal digits, not main: .* write hf:someone/lenet@COMMIT"),
    (f"hf:{REPO}@{COMMIT[:12]}", f"not {COMMIT[:12]}"),
    (f"hf:{REPO}@refs/pr/1:model.safetensors", "not refs/pr/1"),
])  # fmt: skip
def test_what_is_not_there_is_named_with_what_to_do(hub, source, message):
    with pytest.raises(WeightsError, match=rf"^{re.escape(source)}: .*{message}"):
        jv.load_weights(MODEL, source)


def test_a_server_that_is_down(hub):
    hub.down = True
    with pytest.raises(WeightsError, match=rf"{SOURCE}: it is not in the cache, and the hub cannot be reached \(.*503"):
        jv.load_weights(MODEL, SOURCE)
    hub.down = False
    jv.load_weights(MODEL, SOURCE)


def test_an_interrupted_download_goes_on(hub):
    """By itself, or with clients before 2.0 when it is asked for again."""
    hub.drops = 1
    with contextlib.suppress(WeightsError):
        jv.load_weights(MODEL, SOURCE)
    assert_same(jv.load_weights(MODEL, SOURCE), random_variables(0))
    assert len(downloads(hub)) == 2


def test_half_a_file_is_never_loaded(hub):
    hub.drops = 1000
    with pytest.raises(WeightsError, match=rf"{SOURCE}: it could not be fetched, try again: .*"):
        jv.load_weights(MODEL, SOURCE)
    hub.drops = 0
    assert_same(jv.load_weights(MODEL, SOURCE), random_variables(0))


@pytest.mark.parametrize("how", ["server", "disk", "truncated"])
def test_a_damaged_file_is_refused(hub, tmp_path, how):
    """By the digest that the hub promised; the message names the file that is to be deleted."""
    hub.damaged = how == "server"
    if how != "server":
        jv.load_weights(MODEL, SOURCE)
        (blob,) = (tmp_path / "hub").glob("models--*/blobs/*")
        damage(blob) if how == "disk" else blob.write_bytes(blob.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=rf"{SOURCE}: .*SHA-256 .* not {digest(hub)}: .* delete it") as caught:
        jv.load_weights(MODEL, SOURCE)
    hub.damaged = False
    os.remove(re.search(r": (/.*?): its SHA-256", str(caught.value))[1])
    assert_same(jv.load_weights(MODEL, SOURCE), random_variables(0))


def test_another_digest_than_the_one_asked_for(hub, tmp_path):
    with pytest.raises(WeightsError, match=rf"its SHA-256 is {digest(hub)}, not 00000000: .* delete it and fetch it"):
        jv.load_weights(MODEL, SOURCE, sha256="00000000")
    file = tmp_path / "temporary.safetensors"
    file.write_bytes(data_of(hub))
    assert_same(jv.load_weights(MODEL, file, sha256=digest(hub)[:8].upper()), random_variables(0))
    with pytest.raises(WeightsError, match=rf"{file}: its SHA-256 is {digest(hub)}, not {'0' * 64}"):
        jv.load_weights(MODEL, file, sha256="0" * 64)
    with pytest.raises(WeightsError, match="sha256 must be 8 to 64 hexadecimal digits, got 'abc'"):
        jv.load_weights(MODEL, file, sha256="abc")


def test_an_address_is_fetched_once(hub, constants, monkeypatch):
    for known in (digest(hub), digest(hub)[:8]):
        hub.requests.clear()
        assert_same(jv.load_weights(MODEL, address(hub), sha256=known), random_variables(0))
        assert len(hub.requests) == 1
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert_same(jv.load_weights(MODEL, address(hub), sha256=known), random_variables(0))
        assert len(hub.requests) == 1
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.parametrize("fault", ["down", "drops", "damaged"])
def test_nothing_is_kept_of_a_file_that_is_not_right(hub, tmp_path, fault):
    setattr(hub, fault, 1)
    messages = {"down": "could not be fetched, try again: HTTPError", "drops": "SHA-256", "damaged": "SHA-256"}
    with pytest.raises(WeightsError, match=rf"^{re.escape(address(hub))}: .*{messages[fault]}"):
        jv.load_weights(MODEL, address(hub), sha256=digest(hub))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    setattr(hub, fault, 0)
    assert_same(jv.load_weights(MODEL, address(hub), sha256=digest(hub)), random_variables(0))


def test_an_address_that_is_damaged_on_disk(hub, tmp_path):
    jv.load_weights(MODEL, address(hub), sha256=digest(hub))
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    damage(file)
    with pytest.raises(WeightsError, match=rf"{re.escape(str(file))}: its SHA-256 .* delete it and fetch it again"):
        jv.load_weights(MODEL, address(hub), sha256=digest(hub))


def test_an_address_that_cannot_be_fetched(hub, constants, monkeypatch):
    with pytest.raises(WeightsError, match="needs its sha256, 8 hexadecimal digits or more"):
        jv.load_weights(MODEL, address(hub))
    with pytest.raises(WeightsError, match="the address names no file"):
        jv.load_weights(MODEL, f"{hub.address}/", sha256=digest(hub))
    with pytest.raises(WeightsError, match="could not be fetched, try again: URLError"):
        jv.load_weights(MODEL, "http://127.0.0.1:1/model.safetensors", sha256=digest(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE is set: fetch it once without, or to .*model.safetensors"):
        jv.load_weights(MODEL, address(hub), sha256=digest(hub))
