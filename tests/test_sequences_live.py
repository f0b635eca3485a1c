"""PyTorch's and transformers' models of sequences themselves: stored results, and files both ways."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import images_and_sequences, sequences
from jaxvision.layers.pairs import Pairs
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


@pytest.mark.parametrize("name", ["lstm", "seq2seq"])
def test_peers_of_the_benchmark_do_the_same_work(name):
    torch.manual_seed(0)
    size = sequences.Size(vocabulary=11, width=8, depth=2, heads=1, batch=3, length=5)
    theirs, model = sequences.their_model(name, size), sequences.our_model(name, size)
    variables = from_foreign(model, {key: value.numpy() for key, value in theirs.state_dict().items()})
    tokens, lengths = torch.from_numpy(size.tokens).long(), np.full(size.batch, size.length)
    begun = torch.full((size.batch, 1), sequences.START)
    with torch.no_grad():
        logits = (theirs(tokens) if name == "lstm" else theirs(tokens, tokens)).logits.numpy()
        written = theirs.generate(begun if name == "lstm" else tokens, max_new_tokens=size.length - 1).numpy()
    given = size.tokens if name == "lstm" else Pairs(size.tokens, lengths, size.tokens)
    found = model.apply(variables, given, train=False)
    np.testing.assert_allclose(found[0] if name == "lstm" else found, logits, rtol=1e-4, atol=1e-6)
    ours = sequences._write(model, jnp.asarray(size.tokens), jnp.asarray(lengths), variables)
    np.testing.assert_array_equal(ours, written[:, 1:])


@pytest.mark.parametrize("name", images_and_sequences.WORK)
def test_peers_that_see_images_do_the_same_work(name):
    torch.manual_seed(0)
    size = images_and_sequences.Size(vocabulary=11, width=8, depth=2, batch=3, length=5, image=64)
    theirs = images_and_sequences.their_model(name, size).eval()
    model = images_and_sequences.our_model(name, size)
    state = {key.removeprefix("backbone."): value.numpy() for key, value in theirs.state_dict().items()}
    variables = from_foreign(model, state)
    images, tokens = torch.from_numpy(size.images(name)).movedim(-1, -3), torch.from_numpy(size.tokens)
    with torch.no_grad():
        logits = (theirs(images, tokens) if name == "captioner" else theirs(images)).logits.numpy()
    found = model.apply(variables, images_and_sequences.given(name, size), train=False)
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
    if name == "captioner":
        written = theirs.generate(images, max_new_tokens=4).numpy()[:, 1:]
        np.testing.assert_array_equal(images_and_sequences.write(model, 4, variables, size.images(name)), written)
