"""Cases of sequence Transformers that are compared with PyTorch's and transformers'."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxvision.layers.pairs import Pairs
from jaxvision.transformer.gpt import GPT
from jaxvision.transformer.transformer import Transformer
from tests.reference.random_values import stream

DIM, HEADS, HIDDEN, SOURCE_SIZE, TARGET_SIZE, MAX_LENGTH, STEPS = 8, 2, 12, 6, 7, 9, 5
LENGTHS = (6, 4, 1)
MARIAN = {"positions": "sine_cosine_halves", "logits_bias": True, "activation": nn.swish}
TRANSFORMERS = {  # layout and fields
    "norm last": ("torch", {"shared": "none", "final_norm": True}),
    "norm first": ("torch", {"shared": "target", "norm_first": True, "final_norm": True, "positions": "learned"}),
    "marian": ("transformers", {"shared": "all", **MARIAN}),
    "marian, two vocabularies": ("transformers", {"shared": "target", **MARIAN}),
}
GPT_CASE = "gpt2"
DEPTHS = dict.fromkeys(TRANSFORMERS, 1) | {GPT_CASE: 2}
CASES = (*TRANSFORMERS, GPT_CASE)


def layout(case: str) -> str:
    """Returns the layout of a case's names."""
    return "transformers" if case == GPT_CASE else TRANSFORMERS[case][0]


def model(case: str, dtype=jnp.float64) -> Transformer | GPT:
    """Returns our model of a case."""
    sizes = {"dim": DIM, "depth": DEPTHS[case], "num_heads": HEADS, "max_length": MAX_LENGTH, "dropout_rate": 0.0}
    if case == GPT_CASE:
        return GPT(TARGET_SIZE, **sizes, dtype=dtype)
    fields = TRANSFORMERS[case][1]
    source = TARGET_SIZE if fields["shared"] == "all" else SOURCE_SIZE
    return Transformer(source, TARGET_SIZE, hidden=HIDDEN, **sizes, **fields, dtype=dtype)


def source(case: str) -> np.ndarray:
    """Returns the sentences of a case, [B, S]."""
    return stream(f"{case}, source").randint(0, SOURCE_SIZE, (len(LENGTHS), max(LENGTHS)))


def target(case: str) -> np.ndarray:
    """Returns their translations, or texts, [B, T + 1]."""
    return stream(f"{case}, target").randint(0, TARGET_SIZE, (len(LENGTHS), STEPS + 1))


def given(case: str) -> Pairs | np.ndarray:
    """Returns what our model is given."""
    before = target(case)[:, :-1]
    return before if case == GPT_CASE else Pairs(source(case), np.array(LENGTHS), before)


def weights(case: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns random weights of a case, by PyTorch's names."""
    return {name: 0.5 * stream(f"{case}, {name}").standard_normal(shape) for name, shape in shapes.items()}


def file_name(case: str) -> str:
    """Returns the name of the file of stored results."""
    return f"sequences/{case.replace(', ', '_').replace(' ', '_')}.npz"
