"""What `import jaxvision` costs."""

import subprocess
import sys

LIST_MODULES = "import flax.linen, sys; before = set(sys.modules); import jaxvision; print(*set(sys.modules) - before)"


def test_import_brings_nothing_heavy():
    printed = subprocess.run([sys.executable, "-c", LIST_MODULES], check=True, capture_output=True, text=True).stdout
    packages = {module.partition(".")[0] for module in printed.split()}
    assert packages - set(sys.stdlib_module_names) <= {"jaxvision", "safetensors"}
    assert "jaxvision.summary" not in printed.split()
