"""What only Vision Transformers do: images of other sizes, two heads, blocks computed anew, maps from tokens."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import jaxvision as jv
from jaxvision.explain import grad_cam
from jaxvision.initialize import abstract_variables
from jaxvision.layers.embedding import resize_positions
from jaxvision.weights import WeightsError, from_foreign, to_foreign
from tests.reference.random_values import random_images

SMALL = {"patch_size": 8, "depth": 2, "dim": 24, "num_heads": 3, "num_classes": 5}
QUICK = {"xla_backend_optimization_level": 0}  # to compile
vit = partial(jv.create_model, "vit_b_16", **SMALL)
distilled = partial(jv.create_model, "deit_tiny_distilled_patch16_224", **SMALL)


def random_variables(model, dtype=np.float32):
    draw = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: draw.uniform(-0.3, 0.3, leaf.shape).astype(dtype), abstract_variables(model))


def images_of(height, width):
    return random_images(2, (3, height, width)).transpose(0, 2, 3, 1)


def run(model, variables, images, **options):
    apply = lambda variables, images: model.apply(variables, images, **({"train": False} | options))
    return jax.jit(apply, compiler_options=QUICK)(variables, images)


@pytest.mark.parametrize("layout", ["timm", "torchvision_old", "jaxvision"])
def test_weights_of_another_image_size_are_read_with_their_positions_resized(layout, tmp_path):
    trained, larger = vit(image_size=24), vit(image_size=40)
    variables, file = random_variables(trained), tmp_path / "at_24.safetensors"
    jv.save_weights(trained, variables, file, layout=layout)
    loaded, backbone = jv.load_weights(larger, file)["params"]["backbone"], variables["params"]["backbone"]
    assert loaded["positions"].shape == (1, 1 + 5 * 5, 24)
    expected = resize_positions(backbone["positions"], (3, 3), (5, 5), "torchvision")
    np.testing.assert_array_equal(loaded["positions"], expected)
    assert set(loaded) == set(backbone)
    others = [{k: v for k, v in params.items() if k != "positions"} for params in (loaded, backbone)]
    jax.tree.map(np.testing.assert_array_equal, *others)


def test_images_of_another_size_resize_positions_as_reading_does():
    trained, larger = vit(image_size=24), vit(image_size=40)
    variables = random_variables(trained)
    resized = from_foreign(larger, to_foreign(trained, variables))
    images = images_of(40, 40)
    expected = run(larger, resized, images)
    np.testing.assert_allclose(run(trained, variables, images), expected, rtol=1e-5, atol=1e-6)
    assert run(trained, variables, images_of(16, 32)).shape == (2, 5)


@pytest.mark.parametrize("shape", [(1, 12, 24), (1, 0, 24), (10, 24), (1, 1, 24)])
def test_positions_of_no_square_grid_are_misshapen(shape):
    model = vit(image_size=24)
    arrays = to_foreign(model, random_variables(model), "timm") | {"pos_embed": np.zeros(shape, np.float32)}
    with pytest.raises(WeightsError) as raised:
        from_foreign(model, arrays)
    assert f"    pos_embed: expected (1, 10, 24), found float32 {shape}" in str(raised.value).splitlines()


def test_a_distilled_networks_weights_are_not_those_of_one_without(tmp_path):
    model = distilled(image_size=24)
    safetensors.numpy.save_file(to_foreign(model, random_variables(model), "timm"), tmp_path / "file.safetensors")
    with pytest.raises(WeightsError, match=r"(?s)unused \(3\):\n    dist_token.*misshapen \(1\):\n    pos_embed"):
        jv.load_weights(jv.create_model("deit_tiny_patch16_224", image_size=24, **SMALL), tmp_path / "file.safetensors")
    headless = jv.create_model("deit_tiny_distilled_patch16_224", image_size=24, **SMALL | {"num_classes": 0})
    assert set(jv.load_weights(headless, tmp_path / "file.safetensors")["params"]) == {"backbone"}
    fewer = jv.create_model("deit_tiny_distilled_patch16_224", image_size=24, **SMALL | {"num_classes": 3})
    with pytest.raises(WeightsError, match="classes: 3 in the model, 5 in the file"):
        jv.load_weights(fewer, tmp_path / "file.safetensors")
    fresh = jv.load_weights(fewer, tmp_path / "file.safetensors", new_head=jax.random.key(0))["params"]["head"]
    assert jax.tree.map(np.shape, fresh) == {"kernel": (24, 6), "bias": (6,)}


def test_both_heads_are_sown_in_training():
    """The first is that of the class token: what the keys `head` hold in timm's files."""
    model, images = distilled(image_size=24), images_of(24, 24)
    variables = random_variables(model)
    logits, sown = run(model, variables, images, train=True, mutable=["heads"])
    (both,) = sown["heads"]["logits"]
    assert both.shape == (2, 2, 5)
    np.testing.assert_allclose(both.mean(1), logits, rtol=1e-5)
    changed = from_foreign(model, to_foreign(model, variables, "timm") | {"head_dist.bias": np.full(5, 7, np.float32)})
    _, sown = run(model, changed, images, train=True, mutable=["heads"])
    (after,) = sown["heads"]["logits"]
    np.testing.assert_array_equal(after[:, 0], both[:, 0])
    assert np.abs(after[:, 1] - both[:, 1]).min() > 6
    in_inference = lambda variables: model.apply(variables, images, train=False, mutable=["heads"])
    assert not jax.eval_shape(in_inference, variables)[1]


def test_blocks_computed_anew_have_the_same_gradient():
    """And drop what they dropped before."""
    images, rates = images_of(16, 16), {"dropout_rate": 0.3, "attention_dropout_rate": 0.2}
    kept, anew = (vit(image_size=16, remat=remat, **SMALL | {"depth": 1} | rates) for remat in (False, True))
    variables = random_variables(kept)

    def loss(variables, model):
        return jnp.square(model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(0)})).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1, compiler_options=QUICK)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, gradient(variables, anew), gradient(variables, kept))
    assert "remat" in str(gradient.trace(variables, anew).jaxpr)
    assert "remat" not in str(gradient.trace(variables, kept).jaxpr)


@pytest.mark.parametrize("remat", [False, True])
def test_blocks_in_a_loop_are_the_same_blocks(remat):
    images = images_of(16, 16).astype(np.float64)
    with jax.enable_x64(True):
        unrolled, scanned = (vit(image_size=16, scan=scan, remat=remat, dtype=jnp.float64) for scan in (False, True))
        assert jax.tree.map(np.shape, abstract_variables(scanned)) == jax.tree.map(
            np.shape, abstract_variables(unrolled)
        )
        variables = random_variables(unrolled, np.float64)

        def loss(variables, model):
            stages = model.apply(variables, images, train=True, method="features")
            return sum(jnp.square(stage).sum() for stage in stages), stages

        run = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1, compiler_options=QUICK)
        close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
        jax.tree.map(close, run(variables, scanned), run(variables, unrolled))


def test_a_loop_of_blocks_is_compiled_once():
    def products(depth, **options):
        model = vit(image_size=16, **SMALL | {"depth": depth}, **options)
        run = lambda variables: model.apply(variables, images_of(16, 16), train=False)
        return str(jax.make_jaxpr(run)(abstract_variables(model))).count("dot_general[")

    assert products(6, scan=True) == products(2, scan=True) == products(1)
    assert products(6) > 3 * products(6, scan=True)


def test_a_loop_of_blocks_drops_other_activations_in_each():
    model = vit(image_size=16, scan=True, dropout_rate=0.5)
    variables = jax.tree.map(np.zeros_like, random_variables(model))
    bias = np.ones(24, np.float32)  # what each block adds where it is not dropped, twice as much
    for name in ("block1", "block2"):
        variables["params"]["backbone"][name]["mlp"]["linear2"]["bias"] = bias
    draw = lambda key: run(model, variables, images_of(16, 16), train=True, method="features", rngs={"dropout": key})
    first, second = draw(jax.random.key(0))
    assert set(np.unique(first)) == set(np.unique(second - first)) == {0, 2}
    assert 0.3 < np.mean(first == second - first) < 0.7
    np.testing.assert_array_equal(second, draw(jax.random.key(0))[1])


def test_a_loop_of_blocks_leaves_out_branches_of_each_at_its_own_rate():
    model = vit(image_size=16, scan=True, stochastic_depth_rate=0.5, **SMALL | {"depth": 3})
    variables = jax.tree.map(np.zeros_like, random_variables(model))
    for name in ("block1", "block2", "block3"):
        variables["params"]["backbone"][name]["mlp"]["linear2"]["bias"] = np.ones(24, np.float32)
    images = np.zeros((1000, 16, 16, 3), np.float32)
    stages = run(model, variables, images, train=True, method="features", rngs={"dropout": jax.random.key(0)})
    added = np.diff([0 * stages[0], *stages], axis=0)[..., 0, 0]  # [blocks, B]: by the first number of each image
    assert (added[0] == 1).all()
    for rate, of_block in zip((0.25, 0.5), added[1:], strict=True):
        np.testing.assert_allclose(np.unique(of_block.round(4)), [0, 1 / (1 - rate)], atol=1e-4)
        assert abs((of_block == 0).mean() - rate) < 0.08  # five standard deviations


def test_where_activations_are_dropped():
    """As in torchvision: with the positions, after attention and twice in the perceptron, and weights of attention."""
    model, seen = vit(image_size=24, dropout_rate=0.1, attention_dropout_rate=0.2, stochastic_depth_rate=0.4), []

    def spy(method, args, kwargs, context):
        if isinstance(context.module, nn.Dropout) and context.module.rate:
            seen.append((context.module.rate, args[0].shape))
        return method(*args, **kwargs)

    variables, options = abstract_variables(model), {"train": True, "rngs": {"dropout": jax.random.key(0)}}
    with nn.intercept_methods(spy):
        jax.eval_shape(lambda variables: model.apply(variables, images_of(24, 24), **options), variables)
    tokens, weights, inner = (2, 10, 24), (2, 3, 10, 10), (2, 10, 96)
    block = [(0.2, weights), (0.1, tokens), (0.1, inner), (0.1, tokens)]
    last = [(0.2, weights), (0.1, tokens), (0.4, tokens), (0.1, inner), (0.1, tokens), (0.4, tokens)]
    assert seen == [(0.1, tokens), *block, *last]


def test_parameters_are_drawn_as_published():
    """Standard deviations of torchvision and timm, and Xavier's bounds; torchvision's heads begin with zeros."""
    std = lambda leaf: float(np.std(leaf))
    ours = jv.init(jv.create_model("vit_b_16", depth=1, image_size=48), jax.random.key(0))["params"]
    block, backbone = ours["backbone"]["block1"], ours["backbone"]
    assert std(backbone["patch_embedding"]["kernel"]) == pytest.approx((16 * 16 * 3) ** -0.5, rel=0.02)
    assert std(backbone["positions"]) == pytest.approx(0.02, rel=0.05)
    assert np.abs(block["attention"]["qkv"]["kernel"]).max() == pytest.approx((6 / (768 + 3 * 768)) ** 0.5, rel=1e-3)
    assert np.abs(block["attention"]["projection"]["kernel"]).max() == pytest.approx(768**-0.5, rel=1e-3)
    assert np.abs(block["mlp"]["linear1"]["kernel"]).max() == pytest.approx((6 / (768 + 3072)) ** 0.5, rel=1e-3)
    assert std(block["mlp"]["linear2"]["bias"]) == pytest.approx(1e-6, rel=0.1)
    assert not np.any(ours["head"]["kernel"])
    assert not np.any(backbone["class_token"])
    theirs = jv.init(jv.create_model("deit_tiny_distilled_patch16_224", depth=1), jax.random.key(0))["params"]
    block, backbone = theirs["backbone"]["block1"], theirs["backbone"]
    for kernel in (
        block["attention"]["qkv"],
        block["attention"]["projection"],
        block["mlp"]["linear1"],
        theirs["head"],
    ):
        assert std(kernel["kernel"]) == pytest.approx(0.02, rel=0.02)
        assert not np.any(kernel["bias"])
    assert std(backbone["class_token"]) == pytest.approx(1e-6, rel=0.2)
    assert std(backbone["distillation_token"]) == pytest.approx(0.02, rel=0.2)
    assert np.abs(backbone["patch_embedding"]["bias"]).max() <= (16 * 16 * 3) ** -0.5


def test_grad_cam_weighs_the_tokens_of_patches_by_what_raising_a_channel_does():
    """Of those that the last block is given; central differences stand for the gradient."""
    classes = [2, 0]
    with jax.enable_x64(True):
        model = distilled(image_size=24, dtype=jnp.float64)
        variables, images = random_variables(model, np.float64), images_of(24, 16).astype(np.float64)
        backbone = model.backbone
        tokens = run(model, variables, images, method="features")[-2]
        tokens = np.asarray(tokens)
        last = lambda model, tokens: model.logits(model.backbone.last_block(tokens, train=False), train=False)
        logits = jax.jit(lambda tokens: model.apply(variables, tokens, method=last), compiler_options=QUICK)
        prefix, weights = backbone.num_prefix, np.zeros((2, 24))
        for channel in range(24):
            step = np.zeros(tokens.shape)  # [B, N, D]
            step[:, prefix:, channel] = 1e-6
            difference = (np.asarray(logits(tokens + step)) - np.asarray(logits(tokens - step))) / 2e-6
            weights[:, channel] = difference[np.arange(2), classes] / 6
        expected = np.maximum(np.einsum("bnc,bc->bn", tokens[:, prefix:], weights), 0).reshape(2, 3, 2)
        found = jax.jit(grad_cam, static_argnums=0, compiler_options=QUICK)(
            model, variables, images, jnp.array(classes)
        )
    assert expected.any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
