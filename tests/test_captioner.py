"""Captioners against PyTorch's cells in a loop, and against what follows from their definitions."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from scipy.special import log_softmax

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.ops.decoding import beam_search
from jaxvision.rnn.captioner import CaptionedImages, Captioner
from jaxvision.weights import from_foreign, to_foreign
from tests.backbone import Backbone
from tests.reference import captioner_cases as cases
from tests.reference.descent import descended
from tests.reference.stored import FOLDER

EXPECTED = np.load(FOLDER / "captioners.npz")
RANDOM = np.random.RandomState(0)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


def model_of(case, dtype=jnp.float64):
    fields = {"hidden": cases.HIDDEN, "embedding": cases.EMBEDDING, "dtype": dtype, **cases.CASES[case]}
    return Captioner(Backbone(dtype), cases.VOCABULARY_SIZE, **fields)


@pytest.mark.parametrize("case", cases.CASES)
def test_outputs_gradients_statistics_and_steps_are_those_of_pytorch(case):
    prefix = f"{case}: gradient of "
    names = [name.removeprefix(prefix) for name in EXPECTED.files if name.startswith(prefix)]
    shapes = {name: EXPECTED[prefix + name].shape for name in names}
    shapes |= dict.fromkeys(("norm.running_mean", "norm.running_var"), (cases.FEATURES,))
    weights, model, targets = cases.weights(case, shapes), model_of(case), cases.tokens(case)[:, 1:]
    with jax.enable_x64(True):
        variables = from_foreign(model, weights, "torch", dtype=jnp.float64)
        statistics = variables["batch_stats"]
        captioned = CaptionedImages(cases.images(case), cases.tokens(case)[:, :-1])

        @jax.jit
        @partial(jax.value_and_grad, has_aux=True)
        def run(params):
            every = {"params": params, "batch_stats": statistics}
            outputs, state = model.apply(every, captioned, train=True, mutable=["batch_stats"], method="align")
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs[0], targets)
            return losses.sum(), (outputs, state["batch_stats"])

        (loss, ((logits, shares), statistics)), gradients = run(variables["params"])
        of_weights = to_foreign(model, {"params": gradients, "batch_stats": statistics}, "torch", dtype=np.float64)
        new = {"params": descended(lambda params: run(params)[1], variables["params"]), "batch_stats": statistics}
        after = to_foreign(model, new, "torch", dtype=np.float64)
        again = to_foreign(model, variables, "torch", dtype=np.float64)
    assert_close(loss, EXPECTED[f"{case}: loss"])
    assert_close(logits, EXPECTED[f"{case}: logits"])
    assert (shares is None) == (f"{case}: shares" not in EXPECTED)
    if shares is not None:
        assert_close(shares, EXPECTED[f"{case}: shares"])
    for kind in ("mean", "var"):
        assert_close(of_weights.pop(f"norm.running_{kind}"), EXPECTED[f"{case}: {kind}"])
    assert set(of_weights) - {"norm.num_batches_tracked"} == set(names)
    for name in names:
        assert_close(of_weights[name], EXPECTED[prefix + name])
        assert_close(after[name], EXPECTED[f"{case}: {name} after the steps"])
        np.testing.assert_array_equal(again[name], weights[name])


def drawn(**fields):
    """A model whose logits are far apart, and its variables."""
    model = Captioner(Backbone(), 4, **{"hidden": 6, "embedding": 3, **fields})
    variables = jv.init(model, jax.random.key(0))
    return model, variables | {"params": jax.tree.map(lambda leaf: 3 * leaf, variables["params"])}


def some(steps=5, images=3):
    return CaptionedImages(RANDOM.standard_normal((images, *cases.IMAGE)), RANDOM.randint(0, 4, (images, steps)))


@pytest.mark.parametrize("conditioning", ["start", "every", "attention"])
def test_steps_give_what_the_whole_caption_does(conditioning):
    model, variables = drawn(conditioning=conditioning, num_layers=2)
    captioned = some()
    logits, shares = jax.jit(partial(model.apply, train=False, method="align"))(variables, captioned)
    memory, state = jax.jit(partial(model.apply, train=False, method="encode"))(variables, captioned.image)
    step = jax.jit(partial(model.apply, method="step"))
    for number, tokens in enumerate(captioned.tokens.T):
        found, state = step(variables, tokens, state, memory)
        assert_close(found, logits[:, number], 1e-5)
    if conditioning == "attention":
        assert_close(shares.sum(-1), np.ones((3, 5)), 1e-6)


@pytest.mark.parametrize("conditioning", ["every", "attention"])
def test_several_captions_of_an_image_are_those_of_as_many_images(conditioning):
    model, variables = drawn(conditioning=conditioning)
    captioned = some(steps=2, images=4)._replace(image=np.repeat(some(images=2).image, 2, 0))
    run = jax.jit(partial(model.apply, train=False))
    assert_close(run(variables, captioned._replace(image=captioned.image[::2])), run(variables, captioned), 1e-5)


def test_words_to_come_change_nothing_before_them():
    model, variables = drawn()
    captioned = some()
    run = jax.jit(partial(model.apply, train=False))
    logits = run(variables, captioned)
    changed = captioned._replace(tokens=np.where(np.arange(5) < 3, captioned.tokens, (captioned.tokens + 1) % 4))
    longer = captioned._replace(tokens=np.pad(captioned.tokens, ((0, 0), (0, 2))))
    assert_close(run(variables, changed)[:, :3], logits[:, :3], 1e-6)
    assert_close(run(variables, longer)[:, :5], logits, 1e-6)
    assert np.abs(run(variables, changed)[:, 3:] - logits[:, 3:]).max() > 1e-3


@pytest.mark.parametrize("conditioning", ["start", "every", "attention"])
def test_with_beams_enough_the_search_of_the_model_is_exhaustive(conditioning):
    length, end, alpha = 3, 0, 0.8
    model, variables = drawn(cell="gru", conditioning=conditioning)
    images, first = some(images=2).image, np.array([1, 2], np.int32)
    written = [(*beginning, end) for n in range(length) for beginning in itertools.product((1, 2, 3), repeat=n)]
    written += itertools.product((1, 2, 3), repeat=length)

    @jax.jit
    def search(variables):
        memory, state = model.apply(variables, images, train=False, method="encode")
        step = lambda tokens, state: model.apply(variables, tokens, state, memory, method="step")
        return beam_search(step, state, first, beams=30, max_length=length, end=end, length_penalty=alpha)

    found = search(variables)
    force = jax.jit(partial(model.apply, train=False))
    padded = np.array([[*tokens, *[end] * (length - len(tokens))] for tokens in written])
    for row in range(2):
        many = lambda array: np.repeat(array[row : row + 1], len(written), 0)  # noqa: B023
        before = np.concatenate([many(first)[:, None], padded[:, :-1]], 1)
        logs = log_softmax(np.float64(force(variables, CaptionedImages(many(images), before))), -1)
        logs = np.take_along_axis(logs, padded[..., None], -1)[..., 0]
        scores = [logs[n, : len(tokens)].sum() / ((5 + len(tokens)) / 6) ** alpha for n, tokens in enumerate(written)]
        for rank, best in enumerate(np.argsort(scores)[::-1][:20]):
            assert tuple(found.tokens[row, rank, : found.lengths[row, rank]].tolist()) == written[best]
            np.testing.assert_allclose(found.scores[row, rank], scores[best], rtol=1e-4, atol=1e-6)


def test_dropout_is_of_training_alone():
    model, variables = drawn(dropout=0.5, frozen=True, conditioning="every")
    captioned = some()
    run = jax.jit(lambda seed: model.apply(variables, captioned, train=True, rngs={"dropout": jax.random.key(seed)}))
    assert np.abs(run(0) - run(1)).max() > 1e-3
    jax.eval_shape(partial(model.apply, train=False), variables, captioned)  # would fail if it drew anything


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch4_32", 32), ("lenet5", 32)])
@pytest.mark.parametrize("conditioning", ["every", "attention"])
def test_backbones_of_all_kinds(name, size, conditioning):
    backbone = jv.create_model(name).backbone
    model = Captioner(backbone, 4, conditioning, hidden=6, embedding=3)
    image = jax.ShapeDtypeStruct((2, size, size, backbone.in_channels), jnp.float32)
    captioned = CaptionedImages(image, jax.ShapeDtypeStruct((2, 3), jnp.int32))
    logits = jax.eval_shape(partial(model.apply, train=False), abstract_variables(model), captioned)
    assert logits.shape == (2, 3, 4)


def test_the_gradient_lowers_for_accelerators():
    model = Captioner(Backbone(jnp.bfloat16), 4, hidden=6, embedding=3, dropout=0.1, dtype=jnp.bfloat16)

    def loss(params, captioned, key):
        logits, _ = model.apply(params, captioned, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return logits.astype(jnp.float32).sum()

    key = jax.eval_shape(lambda: jax.random.key(0))
    exported = export.export(jax.jit(jax.grad(loss)), platforms=("cuda", "tpu"))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), model.example_input())
    assert exported(abstract_variables(model), shapes, key).platforms == ("cuda", "tpu")


@pytest.mark.parametrize(("fields", "message"), [
    ({"cell": "elman"}, "cell must be one of rnn, lstm, gru, got 'elman'"),
    ({"conditioning": "end"}, "conditioning must be one of start, every, attention, got 'end'"),
])  # fmt: skip
def test_fields_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        jv.init(Captioner(Backbone(), 4, **fields), jax.random.key(0))


def test_tokens_that_do_not_fit():
    model = Captioner(Backbone(), 4)
    variables = abstract_variables(model)
    with pytest.raises(ValueError, match=r"tokens must be \[R, T\], as many captions for each image .*, got \(2, 5\)"):
        jax.eval_shape(partial(model.apply, train=False), variables, some()._replace(tokens=np.zeros((2, 5), int)))
