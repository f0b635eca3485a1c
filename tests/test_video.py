"""Classifiers of videos against PyTorch, and against what follows from their definitions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.rnn.video import Video, VideoClassifier
from jaxvision.weights import from_foreign, to_foreign
from tests.backbone import Backbone
from tests.reference import video_cases as cases
from tests.reference.descent import descended
from tests.reference.stored import FOLDER

EXPECTED = np.load(FOLDER / "videos.npz")
RANDOM = np.random.RandomState(0)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("case", cases.CASES)
def test_outputs_gradients_and_steps_are_those_of_pytorch(case):
    prefix = f"{case}: gradient of "
    names = [name.removeprefix(prefix) for name in EXPECTED.files if name.startswith(prefix)]
    shapes = {name: EXPECTED[prefix + name].shape for name in names}
    shapes |= dict.fromkeys(("norm.running_mean", "norm.running_var"), (cases.FEATURES,))
    weights = cases.weights(case, shapes)
    fields = {"hidden": cases.HIDDEN, "dtype": jnp.float64, **cases.CASES[case]}
    model = VideoClassifier(Backbone(jnp.float64), cases.CLASSES, **fields)
    lengths = np.array(cases.LENGTHS)
    with jax.enable_x64(True):
        variables = from_foreign(model, weights, "torch", dtype=jnp.float64)
        video = Video(cases.frames(case), lengths)

        @jax.jit
        @partial(jax.value_and_grad, has_aux=True)
        def run(params):
            every, options = {**variables, "params": params}, {"train": True, "mutable": ["batch_stats"]}
            logits, _ = model.apply(every, video, **options)
            frames, _ = model.apply(every, video, method="frame_logits", **options)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, cases.labels(case))
            return losses.sum(), (logits, frames)

        (loss, (logits, frames)), gradients = run(variables["params"])
        of_weights = to_foreign(model, {**variables, "params": gradients}, "torch", dtype=np.float64)
        new = {**variables, "params": descended(lambda params: run(params)[1], variables["params"])}
        after = to_foreign(model, new, "torch", dtype=np.float64)
    assert_close(loss, EXPECTED[f"{case}: loss"])
    assert_close(logits, EXPECTED[f"{case}: logits"])
    there = np.arange(frames.shape[1]) < lengths[:, None]
    assert_close(np.asarray(frames)[there], EXPECTED[f"{case}: frames"])
    for name in names:
        assert_close(of_weights[name], EXPECTED[prefix + name])
        assert_close(after[name], EXPECTED[f"{case}: {name} after the steps"])


def drawn(**fields):
    model = VideoClassifier(Backbone(), 4, **{"hidden": 6, **fields})
    variables = jv.init(model, jax.random.key(0))
    return model, variables | {"params": jax.tree.map(lambda leaf: 3 * leaf, variables["params"])}


def some():
    return Video(RANDOM.standard_normal((3, 5, *cases.IMAGE)), np.array([5, 2, 4]))


def test_what_follows_the_last_frame_changes_nothing():
    model, variables = drawn(num_layers=2)
    video = some()
    run = jax.jit(partial(model.apply, train=False))
    hidden = np.arange(5) >= video.lengths[:, None]
    changed = np.where(hidden[..., None, None, None], 7.0, video.frames)
    assert_close(run(variables, video._replace(frames=changed)), run(variables, video), 1e-6)
    longer = np.pad(video.frames, ((0, 0), (0, 2), *[(0, 0)] * 3))
    assert_close(run(variables, video._replace(frames=longer)), run(variables, video), 1e-6)


@pytest.mark.parametrize("head_kind", ["lstm", "mean"])
def test_the_order_of_the_frames_matters_to_the_lstm_alone(head_kind):
    model, variables = drawn(head_kind=head_kind)
    video = some()._replace(lengths=np.full(3, 5))
    run = jax.jit(partial(model.apply, train=False))
    difference = np.abs(run(variables, video) - run(variables, video._replace(frames=video.frames[:, ::-1]))).max()
    assert (difference > 1e-3) == (head_kind == "lstm")
    assert head_kind == "lstm" or difference < 1e-5


def test_the_gradient_lowers_for_accelerators():
    model = VideoClassifier(Backbone(jnp.bfloat16), 4, hidden=6, dropout=0.1, dtype=jnp.bfloat16)

    def loss(params, video, key):
        logits, _ = model.apply(params, video, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return logits.astype(jnp.float32).sum()

    key = jax.eval_shape(lambda: jax.random.key(0))
    exported = export.export(jax.jit(jax.grad(loss)), platforms=("cuda", "tpu"))
    assert exported(abstract_variables(model), model.example_input(), key).platforms == ("cuda", "tpu")


def test_fields_and_shapes_that_cannot_be():
    with pytest.raises(ValueError, match="head_kind must be one of lstm, mean, got 'max'"):
        abstract_variables(VideoClassifier(Backbone(), 4, "max"))
    model = VideoClassifier(Backbone(), 4)
    wrong = some()._replace(lengths=np.ones(2, int))
    with pytest.raises(ValueError, match=r"frames and lengths must be \[B, T, H, W, C\] and \[B\], got .* and \(2,\)"):
        jax.eval_shape(partial(model.apply, train=False), abstract_variables(model), wrong)
