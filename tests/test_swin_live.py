"""Swin Transformers beside transformers' own: files both ways."""

import jax
import numpy as np
import pytest

import jaxvision as jv
from tests.reference.random_values import random_images

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.reference

CONFIG = {
    "image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
    "num_labels": 5,
}  # fmt: skip
SMALL = {"patch_size": 2, "width": 8, "depths": (2, 2), "num_heads": (2, 4), "window": 4, "num_classes": 5}


@pytest.mark.parametrize(("name", "kind"), [
    ("swin_t", (transformers.SwinConfig, transformers.SwinForImageClassification)),
    ("swin_v2_t", (transformers.Swinv2Config, transformers.Swinv2ForImageClassification)),
])  # fmt: skip
def test_files_of_transformers(name, kind, tmp_path):
    configuration, network = kind
    torch.manual_seed(0)
    theirs = network(configuration(**CONFIG))
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.eval().save_pretrained(tmp_path / "theirs")
    model = jv.create_model(name, **SMALL)
    variables = jv.load_weights(model, tmp_path / "theirs" / "model.safetensors")
    images = random_images(2, (3, 16, 16))
    expected = theirs(torch.from_numpy(images)).logits.detach().numpy()
    run = jax.jit(lambda variables, x: model.apply(variables, x, train=False))
    found = run(variables, images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.std())
    theirs.config.save_pretrained(tmp_path / "ours")
    jv.save_weights(model, variables, tmp_path / "ours" / "model.safetensors", layout="transformers")
    again = network.from_pretrained(tmp_path / "ours")(torch.from_numpy(images))
    np.testing.assert_array_equal(again.logits.detach().numpy(), expected)
