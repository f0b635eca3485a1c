"""The reference implementations themselves: whether the stored results are theirs, and ours on other images."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.cnn.inception import AuxiliaryHead
from jaxvision.layers.conv import ConvNorm, conv2d
from jaxvision.layers.norm import BatchNorm
from jaxvision.weights import from_foreign, to_foreign
from tests.reference import cases
from tests.reference.case import to_run_once
from tests.reference.stored import read, size

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
torch_results = pytest.importorskip("tests.reference.torch_results")

pytestmark = pytest.mark.reference

SAME = 1e-8  # between versions of PyTorch, in float64
RELATIVE = 1e-4  # between float32 of ours and theirs
IMAGES = np.random.RandomState(7).uniform(-2, 2, (3, 75, 98, 3)).astype(np.float32)  # neither square nor divisible
TORCHVISION = ("mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "squeezenet1_0", "shufflenet_v2_x0_5")
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
        np.testing.assert_allclose(computed.fingerprints[name], fingerprint, rtol=0, atol=SAME * size(fingerprint))


@pytest.mark.parametrize("name", cases.others_in_slow_set())
def test_stored_inference(name):
    assert_same(torch_results.inference_results(name), read(cases.inference_file(name)))


@pytest.mark.parametrize("name", cases.TRAINING)
def test_stored_training(name):
    assert_same(torch_results.training_results(name), read(cases.training_file(name)))


@pytest.mark.parametrize(
    ("name", "layout", "build"),
    [
        ("alexnet", "torchvision", torchvision.models.alexnet),
        ("vgg11", "torchvision", torchvision.models.vgg11),
        ("vgg13_bn", "timm", partial(timm.create_model, "vgg13_bn")),
        ("resnet18", "torchvision", torchvision.models.resnet18),
        ("resnet50", "torchvision", torchvision.models.resnet50),
        ("wide_resnet50_2", "torchvision", torchvision.models.wide_resnet50_2),
        ("resnext50_32x4d", "torchvision", torchvision.models.resnext50_32x4d),
        *((name, "torchvision", partial(torchvision.models.get_model, name)) for name in TORCHVISION),
        ("densenet121", "torchvision", torchvision.models.densenet121),
        ("densenet121", "timm", partial(timm.create_model, "densenet121")),
        ("googlenet", "torchvision", partial(torchvision.models.googlenet, init_weights=False)),
        ("inception_v3", "torchvision", partial(torchvision.models.inception_v3, init_weights=False)),
        ("convnext_tiny", "torchvision", partial(torchvision.models.convnext_tiny, layer_scale=0.1)),
        ("convnext_tiny", "timm", partial(timm.create_model, "convnext_tiny", ls_init_value=0.1)),
        ("swin_t", "torchvision", torchvision.models.swin_t),
        ("swin_v2_t", "torchvision", torchvision.models.swin_v2_t),
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
    """With the weights that the library draws, in float64: with some, outputs in float32 differ by 2e-4 from those."""
    torch.manual_seed(0)
    network = build().eval().double()
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).double()).numpy()
    with jax.enable_x64(True):
        model = jv.create_model(name, dtype=jnp.float64)
        state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
        variables = from_foreign(model, state, layout, dtype=np.float64)
        forward = to_run_once(lambda variables, images: model.apply(variables, images, train=False))
        logits = np.asarray(forward(variables, np.float64(IMAGES)))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=SAME * expected.std())


@pytest.mark.parametrize(
    ("name", "theirs", "size"),
    [("swin_t", "swin_tiny_patch4_window7_224", 112), ("swin_v2_t", "swinv2_tiny_window8_256", 128)],
)
def test_swin_transformers_of_timm(name, theirs, size):
    """Of two stages: of maps smaller than a window timm makes the windows smaller, torchvision pads the maps."""
    torch.manual_seed(0)
    fields = {"depths": (2, 2), "num_heads": (3, 6)}
    network = timm.create_model(theirs, img_size=size, **fields).eval()
    for value in network.parameters():
        torch.nn.init.uniform_(value, -0.1, 0.1)
    images = np.random.RandomState(7).uniform(-2, 2, (2, size, size, 3))
    with torch.no_grad():
        expected = network.double()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    with jax.enable_x64(True):
        model = jv.create_model(name, dtype=jnp.float64, **fields)
        variables = from_foreign(model, state, dtype=np.float64)
        logits = np.asarray(model.apply(variables, images, train=False))
        written = to_foreign(model, variables, "timm", dtype=np.float64)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=SAME * expected.std())
    network.load_state_dict({key: torch.from_numpy(array) for key, array in written.items()}, strict=True)
    assert all(np.array_equal(written[key], state[key]) for key in state)


@pytest.mark.parametrize("size", [(17, 17), (20, 23)])
def test_auxiliary_head_of_inception_v3(size):
    """On maps as large as those of the published image size, and larger; smaller ones torchvision refuses."""
    network = torchvision.models.inception.InceptionAux(24, 10).train().double()
    x = np.random.RandomState(0).randn(3, *size, 24)
    with torch.no_grad():
        expected = network(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    with jax.enable_x64(True):
        conv = partial(conv2d, use_bias=False, dtype=jnp.float64)
        layer = partial(ConvNorm, conv=conv, norm=partial(BatchNorm, True, epsilon=1e-3, dtype=jnp.float64))
        head = AuxiliaryHead(10, layer, jnp.float64)
        state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
        kernel = lambda key: jnp.asarray(np.moveaxis(state[key], (0, 1), (-1, -2)))
        convolution = lambda i: {"conv": {"kernel": kernel(f"conv{i}.conv.weight")}, "norm": norm(f"conv{i}.bn")}
        norm = lambda key: {"scale": jnp.asarray(state[f"{key}.weight"]), "bias": jnp.asarray(state[f"{key}.bias"])}
        linear = {"kernel": kernel("fc.weight"), "bias": jnp.asarray(state["fc.bias"])}
        params = {"conv1": convolution(0), "conv2": convolution(1), "head": linear}
        logits, _ = head.apply({"params": params}, jnp.asarray(x), mutable=["batch_stats"])
    np.testing.assert_allclose(logits, expected, rtol=0, atol=SAME * expected.std())


@pytest.mark.parametrize(
    "name", jv.list_models("convnext*") + jv.list_models("efficientnet*") + jv.list_models("swin*")
)
def test_regularization_is_torchvisions(name):
    """What inference does not show: rates of dropout and stochastic depth, momentum and epsilon of BatchNorm."""
    with torch.device("meta"):
        modules = list(torch_results.INFERENCE[name].build().modules())
    backbone = jv.create_model(name).backbone
    rates = [module.p for module in modules if isinstance(module, torchvision.ops.StochasticDepth)]
    np.testing.assert_allclose(list(backbone.stochastic_depth_rates()), rates, rtol=1e-12)
    if name.startswith("efficientnet"):
        assert [backbone.dropout_rate] == [module.p for module in modules if isinstance(module, torch.nn.Dropout)]
        norms = {(m.eps, round(1 - m.momentum, 9)) for m in modules if isinstance(m, torch.nn.BatchNorm2d)}
        assert norms == {(backbone.epsilon, round(backbone.momentum, 9))}
