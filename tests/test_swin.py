"""The windows of Swin Transformers against loops over tokens; the networks are compared as all others are."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.summary import summarize
from jaxvision.transformer.swin_attention import CosineWindowAttention, WindowAttention, neighbours
from jaxvision.weights import WeightsError, from_foreign, to_foreign

RANDOM = np.random.RandomState(0)


@pytest.mark.parametrize(("grid", "shift"), [((2, 3), (2, 2)), ((2, 1), (2, 0)), ((1, 4), (0, 1))])
def test_neighbours_are_less_than_a_window_apart(grid, shift):
    window = 4
    height, width = (size * window for size in grid)
    found = neighbours(grid, window, shift)
    for n, corner in enumerate(itertools.product(range(0, height, window), range(0, width, window))):
        inside = [np.add(corner, place) for place in itertools.product(range(window), repeat=2)]
        origins = np.array([(place + shift) % (height, width) for place in inside])
        apart = np.abs(origins[:, None] - origins).max(-1)
        np.testing.assert_array_equal(found[n], apart < window)


def attention_of_one_head(x, params, is_shifted, window):
    """Returns what one query after the other gets, [H, W, C]; other windows and other edges are left out."""
    height, width, dim = x.shape
    rows, columns = (-(-size // window) * window for size in (height, width))
    x = np.pad(x, ((0, rows - height), (0, columns - width), (0, 0)))
    down, right = (window // 2 if is_shifted and size > window else 0 for size in (rows, columns))
    q, k, v = np.split(x @ params["qkv"]["kernel"] + params["qkv"]["bias"], 3, -1)
    table, output = params["position_table"].reshape(2 * window - 1, 2 * window - 1), np.zeros(x.shape)
    for i, j in itertools.product(range(rows), range(columns)):
        top, left = i - (i - down) % window, j - (j - right) % window
        inside = [(r, c) for r in range(top, top + window) for c in range(left, left + window)]
        inside = [(r, c) for r, c in inside if 0 <= r < rows and 0 <= c < columns]
        logits = [q[i, j] @ k[r, c] / math.sqrt(dim) + table[i - r + window - 1, j - c + window - 1] for r, c in inside]
        weights = np.exp(logits) / np.exp(logits).sum()
        output[i, j] = sum(weight * v[place] for weight, place in zip(weights, inside, strict=True))
    return (output @ params["projection"]["kernel"] + params["projection"]["bias"])[:height, :width]


@pytest.mark.parametrize(("is_shifted", "size"), [(False, (5, 7)), (True, (5, 7)), (True, (3, 6)), (True, (2, 3))])
def test_attention_is_that_of_a_loop(is_shifted, size):
    """The padded map has two windows or more in both directions, in one, in none."""
    with jax.enable_x64(True):
        layer, x = WindowAttention(1, 3, is_shifted, jnp.float64), RANDOM.randn(2, *size, 4)
        shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
        variables = jax.tree.map(lambda leaf: RANDOM.randn(*leaf.shape), shapes)
        found = np.asarray(jax.jit(layer.apply)(variables, x))
    expected = [attention_of_one_head(image, variables["params"], is_shifted, 3) for image in x]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_scale_of_cosines_ends_at_100():
    layer, x = CosineWindowAttention(2, 2, True, jnp.float32), jnp.asarray(RANDOM.randn(1, 4, 4, 8), jnp.float32)
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    run = jax.jit(lambda scale: layer.apply({"params": params | {"log_scale": jnp.full(2, scale)}}, x))
    np.testing.assert_allclose(run(math.log(1000)), run(math.log(100)), rtol=1e-6)
    assert np.abs(run(math.log(99)) - run(math.log(100))).max() > 1e-5
    gradient = jax.jit(jax.grad(lambda scale: jnp.square(run(scale)).sum()))
    assert gradient(math.log(99)) != 0
    assert gradient(math.log(101)) == 0


def small_swin():
    model = jv.create_model("swin_t", depths=(2,), num_heads=(2,), width=8, window=2, num_classes=3)
    return model, jax.tree.map(lambda leaf: np.float32(RANDOM.randn(*leaf.shape)), abstract_variables(model))


def test_files_of_torchvision_hold_indices():
    index = to_foreign(*small_swin(), "torchvision")["features.1.0.attn.relative_position_index"]
    assert index.dtype == np.int64
    assert index.tolist() == [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4]


def test_early_files_of_transformers_hold_indices():
    model, variables = small_swin()
    arrays, index = to_foreign(model, variables, "transformers"), np.arange(16).reshape(4, 4)
    of_block = "swin.encoder.layers.0.blocks.{}.attention.self.relative_position_index".format
    early = arrays | {of_block(j): index for j in range(2)}
    jax.tree.map(np.testing.assert_array_equal, from_foreign(model, early), variables)
    with pytest.raises(WeightsError, match=r"unused \(1\):\s+" + of_block(2)):
        from_foreign(model, early | {of_block(2): index})


def test_what_the_first_layers_see():
    layers = {layer.path: layer for layer in summarize(jv.create_model("swin_t", depths=(1, 1), num_heads=(3, 6)))}
    assert layers["backbone/patch_embedding"].receptive_field == (4, 4)
    assert layers["backbone/stage1_block1/norm1"].receptive_field == (4, 4)
    assert layers["head"].receptive_field == (math.inf, math.inf)


QUICK = {"xla_backend_optimization_level": 0}  # to compile
SMALL = {"num_heads": (2, 4), "width": 8, "window": 2, "num_classes": 3, "stochastic_depth_rate": 0.0}
IMAGES = RANDOM.randn(2, 20, 12, 3)  # maps of 5x3 tokens, so windows are padded and shifted


@pytest.mark.parametrize("name", ["swin_t", pytest.param("swin_v2_t", marks=pytest.mark.slow)])
def test_blocks_in_a_loop_are_the_same_blocks(name):
    """Two to a step; the last of an odd number by itself."""
    with jax.enable_x64(True):
        create = partial(jv.create_model, name, depths=(5,), dtype=jnp.float64, **SMALL | {"num_heads": (2,)})
        models = [create(), create(scan=True, remat=True), create(remat=True)]
        shapes = [jax.tree.map(jnp.shape, abstract_variables(model)) for model in models]
        assert shapes[0] == shapes[1] == shapes[2]
        variables = jax.tree.map(lambda leaf: RANDOM.uniform(-0.3, 0.3, leaf.shape), abstract_variables(models[0]))

        def loss(variables, model):
            stages = model.apply(variables, IMAGES, train=True, method="features")
            return sum(jnp.square(stage).sum() for stage in stages), stages

        run = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1, compiler_options=QUICK)
        close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
        jax.tree.map(close, run(variables, models[1]), run(variables, models[0]))
        programs = [str(run.trace(variables, model).jaxpr) for model in models]
    assert ["remat" in program for program in programs] == [False, True, True]


def test_a_loop_of_blocks_is_compiled_once():
    def products(depth, **options):
        model = jv.create_model("swin_t", depths=(2, depth), **SMALL, **options)
        run = lambda variables: model.apply(variables, IMAGES, train=False)
        return str(jax.make_jaxpr(run)(abstract_variables(model))).count("dot_general[")

    assert products(8, scan=True) == products(2, scan=True) == products(2)
    assert products(8) > 2 * products(8, scan=True)


def test_a_loop_of_blocks_leaves_out_branches_of_each_at_its_own_rate():
    model = jv.create_model(
        "swin_t", depths=(4,), scan=True, **SMALL | {"num_heads": (2,), "stochastic_depth_rate": 0.6}
    )
    variables = jax.tree.map(np.zeros_like, jv.init(model, jax.random.key(0)))
    for j in range(1, 5):  # each adds a power of ten where it is not left out
        bias = variables["params"]["backbone"][f"stage1_block{j}"]["mlp"]["linear2"]["bias"]
        bias += 10.0 ** (j - 1) * (1 - 0.2 * (j - 1))
    run = jax.jit(partial(model.apply, train=True, method="features"), compiler_options=QUICK)
    (stage,) = run(variables, np.zeros((2000, 8, 8, 3), np.float32), rngs={"dropout": jax.random.key(0)})
    digits = np.round(np.asarray(stage)[:, 0, 0, 0]).astype(int)[:, None] // 10 ** np.arange(4) % 10
    assert set(np.unique(digits)) == {0, 1}
    np.testing.assert_allclose(1 - digits.mean(0), [0, 0.2, 0.4, 0.6], atol=5 * 0.5 / 2000**0.5)
