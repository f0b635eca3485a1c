"""What a classifier is trained on: losses by hand, images changed as the options say."""

import dataclasses
import math
from types import SimpleNamespace
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import rel_entr
from scipy.stats import binomtest

import jaxvision as jv
from jaxvision.augment import RECIPES, cutmix, mixup
from jaxvision.initialize import abstract_variables
from train.classification import Config, create_model, make_loss_fn, mixed
from train.data.images import Preprocessing
from train.shared.losses import (
    DistillationConfig,
    LossConfig,
    binary_cross_entropy,
    cross_entropy,
    distillation,
    focal,
    make_loss,
    squared_error,
)

RANDOM = np.random.RandomState(0)
LOGITS, LABELS = RANDOM.randn(4, 3).astype(np.float32), np.array([0, 2, 1, 1])
LOG_PROBABILITIES = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))


def test_cross_entropy_of_labels_and_of_probabilities():
    picked = -LOG_PROBABILITIES[np.arange(4), LABELS]
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), picked, rtol=1e-5)
    smooth = 0.7 * picked - 0.3 * LOG_PROBABILITIES.mean(1)
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS, 0.3), smooth, rtol=1e-5)
    probabilities = RANDOM.dirichlet(np.ones(3), 4).astype(np.float32)
    expected = -(probabilities * LOG_PROBABILITIES).sum(1)
    np.testing.assert_allclose(cross_entropy(LOGITS, probabilities), expected, rtol=1e-5)


PROBABILITIES = np.exp(LOG_PROBABILITIES)
TARGETS = np.eye(3, dtype=np.float32)[LABELS]


def test_binary_cross_entropy_sums_a_question_for_each_class():
    answers = 1 / (1 + np.exp(-LOGITS))
    by_class = lambda targets: -(targets * np.log(answers) + (1 - targets) * np.log(1 - answers)).sum(1)
    np.testing.assert_allclose(binary_cross_entropy(LOGITS, LABELS), by_class(TARGETS), rtol=1e-5)
    smooth = by_class(0.9 * TARGETS + 0.1 / 3)
    np.testing.assert_allclose(binary_cross_entropy(LOGITS, LABELS, 0.1), smooth, rtol=1e-5)


def test_focal_loss():
    p = PROBABILITIES[np.arange(4), LABELS]
    np.testing.assert_allclose(focal(LOGITS, LABELS, gamma=1.5), -((1 - p) ** 1.5) * np.log(p), rtol=1e-5)
    np.testing.assert_allclose(focal(LOGITS, LABELS, 0.3, 0.0), cross_entropy(LOGITS, LABELS, 0.3), rtol=1e-5)
    two = np.stack([LOGITS[:, 0], np.zeros(4, np.float32)], 1)  # a softmax of two is a sigmoid of their difference
    sigmoid = optax.sigmoid_focal_loss(LOGITS[:, 0], np.ones(4), gamma=2.0)
    np.testing.assert_allclose(focal(two, np.zeros(4, int)), sigmoid, rtol=1e-5)


def test_focal_loss_of_a_sure_answer_has_a_gradient():
    gradient = jax.grad(lambda logits: focal(logits, np.array([0]), gamma=0.5).sum())(np.float32([[60, 0, 0]]))
    np.testing.assert_allclose(gradient, np.zeros((1, 3)), atol=1e-6)


def test_distillation():
    teacher = RANDOM.randn(4, 3).astype(np.float32)
    soft = lambda logits: np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(1, keepdims=True)
    divergence = rel_entr(soft(teacher), soft(LOGITS)).sum(1)
    np.testing.assert_allclose(distillation(LOGITS, teacher, 2.5), 2.5**2 * divergence, rtol=1e-4)
    np.testing.assert_allclose(distillation(teacher, teacher, 2.5), 0, atol=1e-6)
    gradient = jax.grad(lambda logits: distillation(logits, teacher, 2.5).sum())(LOGITS)
    np.testing.assert_allclose(gradient, 2.5 * (soft(LOGITS) - soft(teacher)), rtol=1e-4, atol=1e-6)
    assert not jax.grad(lambda teacher: distillation(LOGITS, teacher, 2.5).sum())(teacher).any()
    hard = -LOG_PROBABILITIES[np.arange(4), teacher.argmax(1)]
    np.testing.assert_allclose(distillation(LOGITS, teacher, 0.0), hard, rtol=1e-5)


def test_of_two_heads_the_first_learns_labels_and_the_second_what_the_teacher_says():
    """As in https://arxiv.org/abs/2012.12877, section 4; without a teacher their mean learns labels."""
    sizes = {"patch_size": 8, "image_size": 16, "depth": 1, "dim": 12, "num_heads": 3, "num_classes": 3}
    model = jv.create_model("deit_tiny_distilled_patch16_224", **sizes)
    variables = jv.init(model, jax.random.key(0))
    batch = {"image": RANDOM.randint(0, 256, (4, 16, 16, 3)).astype(np.uint8), "label": LABELS}
    told, preprocessing = RANDOM.randn(4, 3).astype(np.float32), Preprocessing((0.5,) * 3, (0.5,) * 3, 16)
    teacher = type("", (), {"logits": staticmethod(lambda images: told)})
    config = Config(augment="none", image_size=16, distillation=DistillationConfig(temperature=2.0, teacher_share=0.3))

    @jax.jit
    def run(params):
        images = preprocessing.normalize(batch["image"] / jnp.float32(255))
        logits, sown = model.apply({"params": params}, images, train=True, mutable=["heads"])
        losses = [
            make_loss_fn(model, preprocessing, config, who)(params, {}, batch, jax.random.key(0), 0)
            for who in (teacher, None)
        ]
        return logits, sown["heads"]["logits"][0], losses

    logits, heads, losses = run(variables["params"])
    for ((found, count), (model_state, _)), expected in zip(
        losses,
        (
            0.7 * cross_entropy(heads[:, 0], LABELS, 0.05) + 0.3 * distillation(heads[:, 1], told, 2.0),
            cross_entropy(logits, LABELS, 0.05),
        ),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected.sum(), rtol=1e-5)
        assert (count, model_state) == (4, {})


def test_squared_error_is_flat_where_the_answer_is_most_wrong():
    p = 1 / (1 + np.exp(-LOGITS[:, 0]))
    np.testing.assert_allclose(squared_error(LOGITS[:, 0], np.ones(4)), (1 - p) ** 2, rtol=1e-5)
    slope = jax.vmap(jax.grad(lambda logit: squared_error(logit, jnp.float32(1))))(np.float32([-20, 0]))
    np.testing.assert_allclose(slope, [0, -0.25], atol=1e-8)


def test_options_of_the_loss_reach_it():
    for name, expected in [
        ("binary", binary_cross_entropy(LOGITS, LABELS, 0.2)),
        ("focal", focal(LOGITS, LABELS, 0.2, 3.0)),
    ]:
        found = make_loss(LossConfig(loss=name, label_smoothing=0.2, focal_gamma=3.0))(LOGITS, LABELS)
        np.testing.assert_array_equal(found, expected)
    for options, message in [
        ({"label_smoothing": 1.0}, "--label-smoothing"),
        ({"focal_gamma": -1.0}, "--focal-gamma"),
        ({"focal_gamma": math.inf}, "--focal-gamma must be finite, got inf"),
        ({"focal_gamma": math.nan}, "--focal-gamma must be finite, got nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            LossConfig(**options)
    for temperature in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"--temperature must be finite, got {temperature}"):
            DistillationConfig(temperature=temperature)


def test_each_batch_is_mixed_in_one_of_the_ways_asked_for():
    images, labels = RANDOM.rand(4, 6, 6, 1).astype(np.float32), np.eye(4, dtype=np.float32)
    mix = jax.jit(mixed, static_argnums=3)

    @jax.jit
    def each(key):
        key = jax.random.split(key)[1]
        return {"mixup": mixup(key, images, labels, alpha=0.4), "cutmix": cutmix(key, images, labels, alpha=1.0)}

    seen = set()
    for seed in range(6):
        found, targets = mix(jax.random.key(seed), images, labels, Config(mixup=0.4, cutmix=1.0))
        ways = each(jax.random.key(seed))
        seen |= {name for name, (pixels, _) in ways.items() if np.allclose(found, pixels)}
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert seen == {"mixup", "cutmix"}
    found, _ = mix(jax.random.key(0), images, labels, Config(cutmix=1.0))
    np.testing.assert_allclose(found, each(jax.random.key(0))["cutmix"][0], rtol=1e-6)
    assert mixed(jax.random.key(0), images, labels, Config()) == (images, labels)


def test_every_recipe_can_be_asked_for():
    assert set(get_args(get_type_hints(Config)["augment"])) == {"affine", "none", *RECIPES}


@pytest.mark.parametrize("augment", ["affine", "none", *RECIPES])
def test_larger_images_are_cut_to_what_the_model_sees(augment):
    """LeNet-5 refuses all but 32x32."""
    model = jv.create_model("lenet5", in_channels=3)
    loss_fn = make_loss_fn(model, Preprocessing((0.5,) * 3, (0.5,) * 3, 32), Config(resize=40, augment=augment))
    batch = {"image": jax.ShapeDtypeStruct((4, 40, 40, 3), jnp.uint8), "label": jax.ShapeDtypeStruct((4,), jnp.int32)}
    params = abstract_variables(model)["params"]
    (loss, count), _ = jax.eval_shape(loss_fn, params, {}, batch, jax.random.key(0), 0)
    assert loss.shape == count.shape == ()


def seen(config, images):
    """The images that a model is given in a step of training."""
    found = []

    def apply(variables, images, **options):
        found.append(np.asarray(images))
        return jnp.zeros((len(images), 3)), {}

    model = SimpleNamespace(num_classes=3, auxiliary_weight=0, apply=apply)
    loss_fn = make_loss_fn(model, Preprocessing((0.2, 0.4, 0.6), (0.5, 0.25, 0.5), config.image_size), config)
    loss_fn({}, {}, {"image": jnp.asarray(images), "label": jnp.zeros(len(images), int)}, jax.random.key(0), 0)
    return found[0]


def test_boxes_erased_are_0_to_the_model():
    """As where torchvision erases after it has normalised, and before it mixes: a mixture of 0 with white is none."""
    white = np.full((600, 16, 16, 3), 255, np.uint8)
    found = seen(Config(image_size=16, augment="none", random_erase=0.3), white)
    np.testing.assert_allclose(np.unique(found.reshape(-1, 3), axis=0), [[0, 0, 0], [1.6, 2.4, 0.8]], atol=1e-6)
    erased = (found == found[..., :1].min()).all(-1).sum((1, 2))
    assert binomtest(int((erased > 0).sum()), 600, 0.3).pvalue > 1e-3
    mixtures = seen(Config(image_size=16, augment="none", random_erase=0.3, mixup=1.0), white)
    assert len(np.unique(mixtures.round(3))) > 100


def test_training_may_see_smaller_images():
    images = np.zeros((4, 32, 32, 3), np.uint8)
    assert seen(Config(train_size=24), images).shape == (4, 24, 24, 3)
    assert seen(Config(train_size=24, augment="imagenet"), images).shape == (4, 24, 24, 3)
    assert create_model(Config(model="resnet8", train_size=24), 10, (32, 32, 3)).num_classes == 10


@pytest.mark.parametrize("model", ["lenet5", "mlp"])
def test_a_model_of_one_size_cannot_train_at_another(model):
    with pytest.raises(ValueError, match=f"--model {model} of --image-size 32 cannot take --train-size 24: "):
        create_model(Config(model=model, train_size=24), 10, (32, 32, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": 36, "train_size": 40}, "--train-size must be from 1 to --resize 36, got 40"),
        ({"train_size": 0}, "--train-size must be from 1"),
        ({"random_erase": 1.5}, "--random-erase must be from 0 to 1, got 1.5"),
    ],
)
def test_what_cannot_be_done_to_images_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_negative_mixing_is_refused(option):
    with pytest.raises(ValueError, match=f"--{option} must be 0 or more, got -1"):
        dataclasses.replace(Config(), **{option: -1})
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"--{option} must be finite, got {value}"):
            dataclasses.replace(Config(), **{option: value})


def test_norm_momentum_is_that_of_the_model():
    create = lambda model, momentum: create_model(Config(model=model, norm_momentum=momentum), 10, (32, 32, 1))
    assert create("mnasnet0_5", None).backbone.momentum == 0.9997
    assert create("mnasnet0_5", 0.9).backbone.momentum == 0.9
    with pytest.raises(ValueError, match="--model lenet5 cannot take --norm-momentum: unknown option momentum"):
        create("lenet5", 0.9)
    with pytest.raises(ValueError, match="--norm-momentum must be from 0 to below 1, got 1"):
        Config(norm_momentum=1)
