"""PyTorch's and transformers' sequence Transformers themselves: stored results, and files both ways."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.weights import from_foreign, to_foreign
from tests.reference import sequence_cases as cases
from tests.reference.stored import FOLDER, read
from tests.test_models_live import assert_same
from tests.test_transformer import logits_of

torch = pytest.importorskip("torch")
make_sequences = pytest.importorskip("tests.reference.make_sequences")

pytestmark = pytest.mark.reference


@pytest.mark.parametrize("case", cases.CASES)
def test_stored_results(case):
    assert_same(make_sequences.results(case), read(FOLDER / cases.file_name(case)))


@pytest.mark.parametrize("case", cases.CASES)
def test_weights_go_both_ways(case, monkeypatch):
    """Drawn there, read here, written here, and read there by a network that was drawn otherwise."""
    monkeypatch.setitem(cases.DEPTHS, case, 3)
    torch.manual_seed(0)
    theirs, other = (make_sequences.network(case).float().eval() for _ in range(2))
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    model = cases.model(case, jnp.float32)
    variables = from_foreign(model, state)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in to_foreign(model, variables, cases.layout(case)).items()})
    with torch.no_grad():
        expected, found = (make_sequences.logits_of(case, net).numpy() for net in (theirs, other))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(logits_of(model, variables, cases.given(case)), expected, rtol=1e-4, atol=1e-4)
