"""Computer vision in JAX: models as pure-function Flax Linen modules, with the published weights."""

from jaxvision.convolutional import convolutionalize
from jaxvision.initialize import init
from jaxvision.memory import keep_memory
from jaxvision.registry import create_model, list_models, preprocessing, pretrained
from jaxvision.stacking import stack_blocks, unstack_blocks
from jaxvision.weights import WeightsError, load_weights, save_weights

__version__ = "0.1.0"
__all__ = [
    "WeightsError",
    "convolutionalize",
    "create_model",
    "init",
    "keep_memory",
    "list_models",
    "load_weights",
    "preprocessing",
    "pretrained",
    "save_weights",
    "stack_blocks",
    "unstack_blocks",
]
