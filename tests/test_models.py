"""Every registered model against the stored outputs of its reference implementation (see tests/reference)."""

import math

import numpy as np
import pytest

import jaxvision as jv
from jaxvision.weights import from_foreign, to_foreign
from jaxvision.weights.names import name_maps
from tests.reference import cases
from tests.reference.case import NUM_CLASSES, to_run_once
from tests.reference.random_values import random_images, random_weights
from tests.reference.stored import disagreements, read

RELATIVE = 1e-4


@pytest.fixture(scope="module", params=cases.others_in_slow_set())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def case(name):
    return cases.INFERENCE[name]


@pytest.fixture(scope="module")
def expected(name):
    return read(cases.inference_file(name))


@pytest.fixture(scope="module")
def model(name, case):
    return jv.create_model(name, num_classes=NUM_CLASSES, **case.fields)


@pytest.fixture(scope="module")
def weights(case, expected):
    return random_weights(expected.shapes, case.damped)


@pytest.fixture(scope="module")
def variables(case, model, weights):
    return from_foreign(model, weights, case.layout)


def test_every_model_has_a_reference():
    stored = {path.stem for path in cases.inference_file("lenet5").parent.glob("*.npz")}
    assert set(jv.list_models()) == set(cases.INFERENCE) == stored


@pytest.mark.parametrize("name", cases.INFERENCE)
def test_number_names_and_shapes_of_weights(name):
    """Their values are compared of one model of each kind, and of the others in the slow set."""
    case, expected, model = cases.INFERENCE[name], read(cases.inference_file(name)), jv.create_model(name)
    entries = name_maps(model)[case.layout].entries
    count = sum(math.prod(entry.shape) for entry in entries if entry.path[0] == "params")
    assert count == expected.count
    assert count == cases.COUNTS.get(name, count)
    if case.fields:
        entries = name_maps(jv.create_model(name, num_classes=NUM_CLASSES, **case.fields))[case.layout].entries
    shapes = {key: shape for entry in entries for key, shape in entry.shapes().items()}
    of_classes = (model.num_classes,)
    assert expected.shapes == {
        key: (NUM_CLASSES, *shape[1:]) if shape[:1] == of_classes else shape for key, shape in shapes.items()
    }


def test_weights_go_back_under_the_names_they_came_from(case, model, weights, variables):
    arrays = to_foreign(model, variables, case.layout)
    names = name_maps(model)[case.layout]
    weights_again = {key: array for key, array in arrays.items() if key not in {*names.counters, *names.constants}}
    assert set(weights_again) == set(weights)
    assert all(np.array_equal(weights_again[key], weights[key]) for key in weights)


def test_outputs(name, case, model, variables, expected):
    def run(variables, images):
        headless = {**variables, "params": {"backbone": variables["params"]["backbone"]}}
        pooled = jv.create_model(name, num_classes=0, **case.fields).apply(headless, images, train=False)
        stages = model.apply(variables, images, train=False, method="features")
        return model.apply(variables, images, train=False), stages, pooled

    images = random_images(2, case.image).transpose(0, 2, 3, 1)
    logits, stages, pooled = to_run_once(run)(variables, images)
    np.testing.assert_allclose(logits, expected.logits, rtol=0, atol=RELATIVE * expected.logits.std())
    outputs = {f"stage {i}": as_pytorch_has_it(stage) for i, stage in enumerate(stages, start=1)} | {"pooled": pooled}
    assert not disagreements(outputs, expected.fingerprints, RELATIVE)


def as_pytorch_has_it(stage):  # [B, H, W, C] -> [B, C, H, W]; tokens [B, N, D] are the same there
    return np.moveaxis(stage, -1, 1) if stage.ndim == 4 else stage
