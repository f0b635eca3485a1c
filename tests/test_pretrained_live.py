"""Published weights beside the libraries of their publishers."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import jaxvision as jv
from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published import PUBLISHED, Published
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
    row, config = PUBLISHED[name], timm.get_pretrained_cfg(name)
    about = config.to_dict() if config else {}
    if about:
        assert row.licence.lower() == about["license"]
        assert about["hf_hub_id"] == f"timm/{name}"
    if weights := torch_preprocessing.torchvision_weights(name):
        assert about or row.licence == ("CC-BY-NC-4.0" if "SWAG" in weights.meta.get("license", "") else "BSD-3-Clause")
        assert row.accuracy == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        file = weights.url.rpartition("/")[2]
        assert row.source in (f"torchvision:{file}", f"hf:timm/{name}@{row.source[-40:]}")
        assert row.preprocessing == preprocessing_of(weights.transforms())
    elif row.source.startswith("https:") and about["url"]:
        assert row.source.rpartition("/")[2] == about["url"].rpartition("/")[2]


@pytest.mark.parametrize("name", ["resnet50.tv2_in1k", "resnetv2_50.a1h_in1k"])
def test_from_a_photograph_to_logits(name, tmp_path, monkeypatch):
    """With random weights, in a file of the publisher's format on a server, its digest beginning its name."""
    torch.manual_seed(0)
    model = name.partition(".")[0]
    network = torchvision.models.resnet50() if name.endswith("tv2_in1k") else timm.create_model(model)
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
        monkeypatch.setitem(PUBLISHED, name, Published(source, prefix, row.licence, row.accuracy, row.preprocessing))
        ours, variables = jv.pretrained(name)
    logits = ours.apply(variables, jv.preprocessing(name)([Image.open(photograph)]), train=False)
    with torch.no_grad():
        image = torch.from_numpy(torch_preprocessing.prepared(name, photograph))
        expected = network(image.permute(2, 0, 1)[None]).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=RELATIVE * expected.std())
