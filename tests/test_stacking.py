"""Variables whose blocks are stacked: the same results, and a training step that does not grow with the depth."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.layers.pairs import Pairs
from jaxvision.transformer.gpt import GPT
from jaxvision.transformer.transformer import Transformer
from train.shared.state import create_state
from train.shared.step import make_train_step

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randn(2, 16, 16, 3).astype(np.float32)
TOKENS = RANDOM.randint(0, 5, (2, 4))
SMALL = {"dim": 8, "num_heads": 2}


def vit(depth, scan=True):
    fields = {"image_size": 16, "num_classes": 3, "depth": depth, **SMALL}
    return jv.create_model("vit_tiny_patch16_224", scan=scan, **fields)


def swin(depth, scan=True):
    fields = {"num_heads": (2, 2), "width": 8, "window": 2, "num_classes": 3, "stochastic_depth_rate": 0.0}
    return jv.create_model("swin_t", depths=(1, depth), scan=scan, **fields)


def gpt(depth, scan=True):
    return GPT(5, depth=depth, max_length=6, dropout_rate=0.0, scan=scan, **SMALL)


def translator(depth, scan=True):
    return Transformer(5, 5, depth=depth, hidden=8, max_length=6, dropout_rate=0.0, scan=scan, **SMALL)


GIVEN = {vit: IMAGES, swin: IMAGES, gpt: TOKENS, translator: Pairs(TOKENS, np.array([4, 2]), TOKENS)}
MODELS = pytest.mark.parametrize("make", GIVEN)
DEPTHS = {vit: 2, swin: 3, gpt: 2, translator: 2}
NAMES = {
    vit: ["backbone/blocks"],
    swin: ["backbone/stage2_blocks"],  # of the first two; one block makes no loop
    gpt: ["decoder/blocks"],
    translator: ["decoder/blocks", "encoder/blocks"],
}


def loss(variables, model, given):
    found = model.apply(variables, given, train=True)
    return jnp.square(found[0] if isinstance(model, GPT) else found).sum()


@MODELS
def test_a_stack_is_the_same_blocks(make):
    model = make(DEPTHS[make])
    variables = jv.init(model, jax.random.key(0))
    stacked = jv.stack_blocks(model, variables)
    assert [path for path in paths(stacked["params"]) if path.endswith("blocks")] == NAMES[make]
    back = jv.unstack_blocks(model, stacked)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    gradient = jax.jit(
        jax.value_and_grad(loss), static_argnums=1, compiler_options={"xla_backend_optimization_level": 0}
    )
    (value, found), (expected_value, expected) = (gradient(v, model, GIVEN[make]) for v in (stacked, variables))
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, jv.unstack_blocks(model, found), expected)


def paths(tree, above=""):
    """The paths of all inner nodes, sorted."""
    inner = sorted((name, part) for name, part in tree.items() if isinstance(part, dict))
    return [path for name, part in inner for path in [f"{above}{name}", *paths(part, f"{above}{name}/")]]


@MODELS
def test_a_training_step_does_not_grow_with_the_depth(make):
    def lines(depth, stack):
        model, optimizer = make(depth), optax.adamw(1e-3)
        variables = abstract_variables(model)
        if stack:
            variables = jax.eval_shape(partial(jv.stack_blocks, model), variables)
        state = jax.eval_shape(lambda variables: create_state(variables, optimizer, jax.random.key(0)), variables)

        def loss_fn(params, model_state, batch, rng, step):
            return (loss({"params": params}, model, batch), jnp.float32(1)), (model_state, {})

        return len(str(jax.make_jaxpr(make_train_step(loss_fn, optimizer))(state, GIVEN[make])).splitlines())

    assert lines(8, True) < 1.05 * lines(4, True)  # tuples of what each block gives or looks at grow
    assert lines(8, False) > 1.2 * lines(4, False)


@MODELS
def test_variables_and_models_that_do_not_go_together(make):
    model, unrolled = make(2), make(2, scan=False)
    variables = abstract_variables(model)
    stacked = jax.eval_shape(partial(jv.stack_blocks, model), variables)
    with pytest.raises(ValueError, match="runs no blocks as one loop: that is for Transformers of scan=True"):
        jv.stack_blocks(unrolled, variables)
    with pytest.raises(ValueError, match=r"the variables have no (\w+_)?block1, (\w+_)?block2; where they should be"):
        jv.stack_blocks(model, stacked)
    with pytest.raises(ValueError, match=r"the variables have no (\w+_)?blocks; where they should be, there are "):
        jv.unstack_blocks(model, variables)
    with pytest.raises(ValueError, match=r"applies its blocks one by one here.*unstack_blocks\(model, variables\)"):
        jax.eval_shape(lambda variables: loss(variables, unrolled, GIVEN[make]), stacked)


def test_what_runs_no_loop():
    with pytest.raises(ValueError, match="Classifier runs no blocks as one loop"):
        jv.stack_blocks(jv.create_model("lenet5"), {"params": {}})
    with pytest.raises(ValueError, match="the variables have no backbone; where they should be, there are head"):
        jv.stack_blocks(vit(2), {"params": {"head": {}}})


def test_a_text_is_written_by_blocks_one_by_one():
    model = gpt(2)
    stacked = jax.eval_shape(partial(jv.stack_blocks, model), abstract_variables(model))
    state = model.initial_state(2)
    with pytest.raises(ValueError, match="Decoder applies its blocks one by one here"):
        jax.eval_shape(partial(model.apply, train=False), stacked, TOKENS[:, :1], state)


def test_files_hold_each_block_by_itself(tmp_path):
    model = vit(2)
    stacked = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(
        lambda: jv.stack_blocks(model, jv.init(model, jax.random.key(0)))
    ))  # fmt: skip
    with pytest.raises(jv.WeightsError, match="backbone/blocks"):
        jv.save_weights(model, stacked, tmp_path / "stacked.safetensors", layout="timm")
    assert not list(tmp_path.iterdir())
