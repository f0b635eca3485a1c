"""Training scripts, to be run from a checkout."""

from jaxvision.memory import keep_memory

keep_memory()
