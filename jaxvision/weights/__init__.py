"""Reading and writing weights."""

from jaxvision.weights.convert import from_foreign, to_foreign
from jaxvision.weights.errors import WeightsError
from jaxvision.weights.files import load_weights, save_weights

__all__ = ["WeightsError", "from_foreign", "load_weights", "save_weights", "to_foreign"]
