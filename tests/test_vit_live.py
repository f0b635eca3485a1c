"""Vision Transformers beside torchvision, timm and transformers: files both ways, images of other sizes, two heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.weights import from_foreign
from tests.reference.random_values import random_images

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.reference

SMALL = {"patch_size": 8, "depth": 2, "dim": 24, "num_heads": 3, "num_classes": 5}
TIMM = {"patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
CONFIG = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96, "image_size": 24,
    "patch_size": 8, "num_labels": 5,
}  # fmt: skip


def drawn(network):
    """Gives every parameter random values, so that none is zero."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def images_of(size):
    images = random_images(2, (3, size, size))
    return images.transpose(0, 2, 3, 1), torch.from_numpy(images)


def state_of(network):
    return {key: tensor.numpy() for key, tensor in network.state_dict().items()}


def assert_same(model, variables, images, expected):
    found = jax.jit(lambda variables, images: model.apply(variables, images, train=False))(variables, images)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=0, atol=1e-5 * float(expected.detach().std()))


@pytest.mark.parametrize(("name", "kind"), [
    ("vit_b_16", (transformers.ViTConfig, transformers.ViTForImageClassification)),
    ("deit_tiny_distilled_patch16_224", (transformers.DeiTConfig, transformers.DeiTForImageClassificationWithTeacher)),
])  # fmt: skip
def test_files_of_transformers(name, kind, tmp_path):
    configuration, network = kind
    theirs = drawn(network(configuration(**CONFIG)))
    theirs.save_pretrained(tmp_path / "theirs")
    model = jv.create_model(name, image_size=24, epsilon=1e-12, **SMALL)
    variables = jv.load_weights(model, tmp_path / "theirs" / "model.safetensors")
    images, theirs_images = images_of(24)
    assert_same(model, variables, images, theirs(theirs_images).logits)
    theirs.config.save_pretrained(tmp_path / "ours")
    jv.save_weights(model, variables, tmp_path / "ours" / "model.safetensors", layout="transformers")
    back, report = network.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(back.state_dict()[key], value, rtol=0, atol=0)


def test_reading_into_another_image_size_is_timms():
    theirs = drawn(timm.create_model("deit_tiny_patch16_224", img_size=24, **TIMM))
    larger = timm.create_model("deit_tiny_patch16_224", img_size=56, **TIMM).eval()
    larger.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(theirs.state_dict(), larger))
    model = jv.create_model("deit_tiny_patch16_224", image_size=56, **SMALL)
    images, theirs_images = images_of(56)
    assert_same(model, from_foreign(model, state_of(theirs)), images, larger(theirs_images))


def test_images_of_another_size_are_timms_dynamic_ones():
    theirs = drawn(timm.create_model("deit_tiny_patch16_224", img_size=56, dynamic_img_size=True, **TIMM))
    model = jv.create_model("deit_tiny_patch16_224", image_size=56, **SMALL)
    images, theirs_images = images_of(56)
    expected = theirs(theirs_images[:, :, :24, :40])
    assert_same(model, from_foreign(model, state_of(theirs)), images[:, :24, :40], expected)


def test_reading_into_another_image_size_is_torchvisions():
    build = lambda size: torchvision.models.VisionTransformer(size, 8, 2, 3, 24, 96, num_classes=5).eval()
    theirs, larger = drawn(build(24)), build(40)
    interpolate = torchvision.models.vision_transformer.interpolate_embeddings
    larger.load_state_dict(interpolate(40, 8, theirs.state_dict()))
    model = jv.create_model("vit_b_16", image_size=40, **SMALL)
    images, theirs_images = images_of(40)
    assert_same(model, from_foreign(model, state_of(theirs)), images, larger(theirs_images))


def test_both_heads_are_timms():
    theirs = drawn(timm.create_model("deit_tiny_distilled_patch16_224", img_size=24, **TIMM)).train()
    theirs.set_distilled_training(True)
    model = jv.create_model("deit_tiny_distilled_patch16_224", image_size=24, **SMALL)
    images, theirs_images = images_of(24)
    _, sown = model.apply(from_foreign(model, state_of(theirs)), jnp.asarray(images), train=True, mutable=["heads"])
    expected = torch.stack(theirs(theirs_images), 1).detach().numpy()
    np.testing.assert_allclose(sown["heads"]["logits"][0], expected, rtol=0, atol=1e-5 * expected.std())


def test_stochastic_depth_is_timms():
    theirs = timm.create_model("deit_tiny_patch16_224", drop_path_rate=0.3)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in theirs.blocks]
    model = jv.create_model("deit_tiny_patch16_224", stochastic_depth_rate=0.3)
    np.testing.assert_allclose(model.backbone.stochastic_depth_rates(), rates, rtol=1e-6)
