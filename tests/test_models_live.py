"""The reference implementations themselves: whether the stored results are theirs, and ours on other images."""

from functools import partial

import numpy as np
import pytest

import jaxvision as jv
from jaxvision.weights import from_foreign
from tests.reference import cases
from tests.reference.stored import SMALLEST, read

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
torch_results = pytest.importorskip("tests.reference.torch_results")

pytestmark = pytest.mark.reference

SAME = 1e-8  # between versions of PyTorch, in float64
RELATIVE = 1e-4  # between float32 of ours and theirs
IMAGES = np.random.RandomState(7).uniform(-2, 2, (3, 75, 98, 3)).astype(np.float32)  # neither square nor divisible
TIMM = (
    "resnet18", "resnext50_32x4d", "seresnet18", "seresnet50", "seresnext50_32x4d", "seresnext26d_32x4d", "resnet18d",
    "resnet50d", "resnetv2_18", "resnetv2_50",
)  # fmt: skip


def assert_same(computed, stored):
    assert computed.count == stored.count
    assert computed.shapes == stored.shapes
    np.testing.assert_allclose(computed.logits, stored.logits, rtol=0, atol=SAME * stored.logits.std())
    assert set(computed.fingerprints) == set(stored.fingerprints)
    for name, fingerprint in stored.fingerprints.items():
        atol = SAME * max(fingerprint[0], SMALLEST)
        np.testing.assert_allclose(computed.fingerprints[name], fingerprint, rtol=0, atol=atol)


@pytest.mark.parametrize("name", cases.INFERENCE)
def test_stored_inference(name):
    assert_same(torch_results.inference_results(name), read(cases.inference_file(name)))


@pytest.mark.parametrize("name", cases.TRAINING)
def test_stored_training(name):
    assert_same(torch_results.training_results(name), read(cases.training_file(name)))


@pytest.mark.parametrize(
    ("name", "layout", "build"),
    [
        ("resnet18", "torchvision", torchvision.models.resnet18),
        ("resnet50", "torchvision", torchvision.models.resnet50),
        ("wide_resnet50_2", "torchvision", torchvision.models.wide_resnet50_2),
        ("resnext50_32x4d", "torchvision", torchvision.models.resnext50_32x4d),
        ("convnext_tiny", "torchvision", partial(torchvision.models.convnext_tiny, layer_scale=0.1)),
        ("convnext_tiny", "timm", partial(timm.create_model, "convnext_tiny", ls_init_value=0.1)),
        ("regnet_y_400mf", "torchvision", torchvision.models.regnet_y_400mf),
        ("regnet_x_400mf", "torchvision", torchvision.models.regnet_x_400mf),
        ("efficientnet_b0", "torchvision", torchvision.models.efficientnet_b0),
        ("efficientnet_b5", "torchvision", torchvision.models.efficientnet_b5),
        ("efficientnet_v2_s", "torchvision", torchvision.models.efficientnet_v2_s),
        ("efficientnet_b0", "timm", partial(timm.create_model, "efficientnet_b0")),
        ("efficientnet_v2_s", "timm", partial(timm.create_model, "efficientnetv2_s", bn_eps=1e-3)),
        # Residual branches that start at zero would hide what is in them.
        *((name, "timm", partial(timm.create_model, name, zero_init_last=False)) for name in TIMM),
    ],
)
def test_outputs_on_images_of_another_shape(name, layout, build):
    """With the weights that the library draws."""
    torch.manual_seed(0)
    network, model = build().eval(), jv.create_model(name)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    variables = from_foreign(model, state, layout)
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)).numpy()
    logits = np.asarray(model.apply(variables, IMAGES, train=False))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=RELATIVE * expected.std())


@pytest.mark.parametrize("name", jv.list_models("convnext*") + jv.list_models("efficientnet*"))
def test_regularization_is_torchvisions(name):
    """What inference does not show: rates of dropout and stochastic depth, momentum and epsilon of BatchNorm."""
    with torch.device("meta"):
        modules = list(torchvision.models.get_model(name).modules())
    backbone = jv.create_model(name).backbone
    rates = [module.p for module in modules if isinstance(module, torchvision.ops.StochasticDepth)]
    np.testing.assert_allclose(list(backbone.stochastic_depth_rates()), rates, rtol=1e-12)
    if name.startswith("efficientnet"):
        assert [backbone.dropout_rate] == [module.p for module in modules if isinstance(module, torch.nn.Dropout)]
        norms = {(m.eps, m.momentum) for m in modules if isinstance(m, torch.nn.BatchNorm2d)}
        assert norms == {(backbone.epsilon, pytest.approx(1 - backbone.momentum))}
