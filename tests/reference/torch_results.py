"""Computes with PyTorch, in float64, the results stored beside this file.

`python -m tests.reference.torch_results [name...]` writes them. It needs the optional dependencies `reference`; the
tests that use the stored results need none of them.
"""

import argparse
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from tests.reference import cases
from tests.reference.case import LEARNING_RATE, NUM_CLASSES, WEIGHT_DECAY, Case
from tests.reference.random_values import random_images, random_labels, random_weights
from tests.reference.stored import Results, fingerprint, write
from tests.reference.torch_families import FAMILIES
from tests.reference.torch_families.reference import Reference

INFERENCE = cases.joined(family.INFERENCE for family in FAMILIES)
TRAINING = cases.joined(family.SHORT for family in FAMILIES) | {name: INFERENCE[name] for name in cases.WHOLE}


def inference_results(name: str) -> Results:
    """Runs a registered model on two images as for inference."""
    case, reference = cases.INFERENCE[name], INFERENCE[name]
    network = build(case, reference).eval()
    outputs = record_outputs(network, [*reference.stages, reference.pooled])
    with torch.no_grad():
        logits = network(torch.from_numpy(random_images(2, case.image)).double())
    as_stored = (lambda stage: stage.movedim(-1, 1)) if reference.channels_last else lambda stage: stage
    stages = {f"stage {i}": as_stored(outputs[stage]) for i, stage in enumerate(reference.stages, start=1)}
    return results(reference, network, logits, stages | {"pooled": outputs[reference.pooled]})


def training_results(name: str) -> Results:
    """Takes two optimizer steps on four images, the gradients of the first among the results."""
    case, reference = cases.TRAINING[name], TRAINING[name]
    network = build(case, reference).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images = torch.from_numpy(random_images(4, case.image)).double().requires_grad_()
    labels = torch.from_numpy(random_labels(4, NUM_CLASSES))
    optimizer = torch.optim.SGD(parameter_groups(network), LEARNING_RATE, momentum=0.9, nesterov=True)
    steps = [take_step(network, optimizer, images, labels, reference.auxiliary_weight) for _ in range(2)]
    (logits, first), (_, second) = steps
    changes = {f"change of {key}": p.detach() - before[key] for key, p in network.named_parameters()}
    return results(reference, network, logits, first | {"second loss": second["loss"]} | changes)


def take_step(
    network: nn.Module, optimizer, images: torch.Tensor, labels: torch.Tensor, auxiliary_weight: float
) -> tuple[torch.Tensor, dict]:
    """Takes one optimizer step; returns the logits before it, and the loss, gradients and new batch statistics."""
    images.grad = None
    optimizer.zero_grad()
    outputs = network(images)
    logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
    losses = [functional.cross_entropy(output, labels) for output in (logits, *auxiliary)]
    loss = losses[0] + auxiliary_weight * sum(losses[1:])
    loss.backward()
    gradients = {f"gradient of {key}": p.grad.clone() for key, p in network.named_parameters()}
    statistics = {key: tensor.clone() for key, tensor in network.state_dict().items() if "running_" in key}
    optimizer.step()
    return logits.detach(), {"loss": loss.detach(), "gradient of images": images.grad, **gradients, **statistics}


def parameter_groups(network: nn.Module) -> list[dict]:
    """Spares vectors (biases, scales of normalisations and of layers) the weight decay."""
    is_vector = lambda p: p.numel() == max(p.shape)  # [C], or [C, 1, 1]
    kernels = [p for p in network.parameters() if not is_vector(p)]
    vectors = [p for p in network.parameters() if is_vector(p)]
    return [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": vectors}]


def build(case: Case, reference: Reference) -> nn.Module:
    """Returns the network in float64, with the random weights."""
    network = reference.build(num_classes=NUM_CLASSES, **case.fields)
    weights = random_weights(state_shapes(network), case.damped)
    state = network.state_dict()  # which also says of what version it is
    state.update({key: torch.from_numpy(w) for key, w in weights.items()})
    network.load_state_dict(state)
    return network.double()


def state_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of what the state dict holds of parameters and statistics: the rest are counts of batches and
    constants.
    """
    learnt = {key for key, _ in network.named_parameters()}
    state = sorted(network.state_dict().items())
    return {key: tuple(tensor.shape) for key, tensor in state if key in learnt or "running_" in key}


def record_outputs(network: nn.Module, names: list[str]) -> dict[str, torch.Tensor]:
    """Returns a dictionary that the next forward pass fills with the outputs of the named modules."""
    outputs = {}

    def record(name, module, inputs, output):
        outputs[name] = output.clone()

    for name in names:
        network.get_submodule(name).register_forward_hook(partial(record, name))
    return outputs


def results(reference: Reference, network: nn.Module, logits: torch.Tensor, tensors: Mapping) -> Results:
    """Puts together what is stored."""
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in reference.build().parameters())
    fingerprints = {name: fingerprint(name, tensor.numpy()) for name, tensor in tensors.items()}
    return Results(count, state_shapes(network), logits.numpy(), fingerprints)


def main() -> None:
    """Stores the results of the networks named on the command line, by default of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted({*INFERENCE, *TRAINING}))
    for name in parser.parse_args().names:
        for path, computed in results_of(name):
            write(path, computed)
            print(f"{path.relative_to(path.parents[1])}: {path.stat().st_size} bytes", flush=True)


def results_of(name: str) -> Iterator:
    """Yields the files of a network with their contents."""
    if name in INFERENCE:
        yield cases.inference_file(name), inference_results(name)
    if name in TRAINING:
        yield cases.training_file(name), training_results(name)


if __name__ == "__main__":
    main()
