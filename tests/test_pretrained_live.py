"""Published weights beside the libraries of their publishers."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import jaxvision as jv
from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published import PUBLISHED
from tests.hub_server import running_hub

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
torch_preprocessing = pytest.importorskip("tests.reference.torch_preprocessing")

pytestmark = pytest.mark.reference

RELATIVE = 1e-4


def preprocessing_of(transforms):
    """Returns what torchvision's transforms do."""
    (resize,), (crop,) = transforms.resize_size, transforms.crop_size
    return Preprocessing(resize, crop, transforms.interpolation.value, tuple(transforms.mean), tuple(transforms.std))


@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_are_as_published(name):
    """The names of torchvision's files and its accuracy; timm's licences and, but for two rows, files."""
    row = PUBLISHED[name]
    if weights := torch_preprocessing.torchvision_weights(name):
        assert row.accuracy == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        file = weights.url.rpartition("/")[2]
        assert row.source in (f"torchvision:{file}", f"hf:timm/{name}@{row.source[-40:]}")
        assert row.licence == ("CC-BY-NC-4.0" if ".swag" in name else "BSD-3-Clause")  # timm states others for some
        assert row.preprocessing == preprocessing_of(weights.transforms())
        return
    about = timm.get_pretrained_cfg(name).to_dict()
    assert row.licence.lower() == about["license"]
    assert about["hf_hub_id"] == f"timm/{name}"
    if row.source.startswith("https:") and about["url"]:
        assert row.source.rpartition("/")[2] == about["url"].rpartition("/")[2]


def published_network(name):
    """The network of the publisher as it is built for these weights."""
    model, _, tag = name.partition(".")
    if tag == "a1h_in1k":
        return timm.create_model(model)
    options = {"transform_input": True, "init_weights": False} if model in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(model, **options)


@pytest.mark.parametrize(
    "name",
    ["resnet50.tv2_in1k", "resnetv2_50.a1h_in1k", "densenet121.tv_in1k", "googlenet.tv_in1k", "inception_v3.tv_in1k"],
)
def test_from_a_photograph_to_logits(name, tmp_path, monkeypatch):
    """With random weights, in a file of the publisher's format on a server, its digest beginning its name."""
    torch.manual_seed(0)
    model, network = name.partition(".")[0], published_network(name)
    for key, value in network.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.uniform_(-0.1, 0.1)
    torch.save(network.eval().state_dict(), tmp_path / "file.pth")
    data = (tmp_path / "file.pth").read_bytes()
    prefix = hashlib.sha256(data).hexdigest()[:8]
    photograph = tmp_path / "photograph.png"
    Image.fromarray(load_sample_image("china.jpg")).save(photograph)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with running_hub() as hub:
        hub.files["publisher/models", "0" * 40, f"{model}-{prefix}.pth"] = data
        source = f"{hub.address}/publisher/models/resolve/{'0' * 40}/{model}-{prefix}.pth"
        row = PUBLISHED[name]
        monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(row, source=source, sha256=prefix))
        ours, variables = jv.pretrained(name)
    logits = ours.apply(variables, jv.preprocessing(name)([Image.open(photograph)]), train=False)
    with torch.no_grad():
        image = torch.from_numpy(torch_preprocessing.prepared(name, photograph))
        expected = network(image.permute(2, 0, 1)[None]).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=RELATIVE * expected.std())
