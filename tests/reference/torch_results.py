"""Computes with PyTorch, in float64, the results stored beside this file.

`python -m tests.reference.torch_results [name...]` writes them. It needs the optional dependencies `reference`; the
tests that use the stored results need none of them.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from tests.reference import cases, torch_networks
from tests.reference.cases import Case
from tests.reference.random_values import random_images, random_labels, random_weights
from tests.reference.stored import Results, fingerprint, write


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference implementation.

    Attributes:
        build: makes the network, with as many classes as published or with `num_classes`.
        stages: names of the modules whose outputs are the stages of our `features`.
        pooled: name of the module whose output is what our `num_classes=0` gives, but for axes of length one.
    """

    build: Callable[..., nn.Module]
    stages: tuple[str, ...]
    pooled: str


def torchvision_model(build: Callable[..., nn.Module]) -> Reference:
    """A ResNet of torchvision."""
    return Reference(build, ("layer1", "layer2", "layer3", "layer4"), "avgpool")


def timm_model(name: str, **options) -> Reference:
    """A ResNet of timm whose layers are called as torchvision's."""
    build = partial(timm.create_model, name, **options)
    return Reference(build, ("layer1", "layer2", "layer3", "layer4"), "global_pool")


def timm_preactivation_model(name: str, **options) -> Reference:
    """A pre-activation ResNet of timm."""
    stages = ("stages.0", "stages.1", "stages.2", "norm")
    return Reference(partial(timm.create_model, name, **options), stages, "head.global_pool")


def plain_model(*depths: int) -> Reference:
    """A plain ImageNet network."""
    build = partial(torch_networks.plain_network, depths)
    return Reference(build, ("layer1", "layer2", "layer3", "layer4"), "pool")


def cifar_model(depth: int, *shortcut) -> Reference:
    """A CIFAR-10 network of `6 * depth + 2` layers."""
    build = partial(torch_networks.cifar_network, depth, *shortcut)
    return Reference(build, ("layer1", "layer2", "layer3"), "pool")


def cifar_preactivation_model(depth: int) -> Reference:
    """A pre-activation CIFAR-10 network of `6 * depth + 2` layers."""
    build = partial(torch_networks.cifar_preactivation_network, depth)
    return Reference(build, ("stages.0", "stages.1", "relu"), "pool")


def shortened(block: type[nn.Module], **options) -> Reference:
    """A ResNet of torchvision with one block per stage."""
    return torchvision_model(partial(torchvision.models.ResNet, block, [1, 1, 1, 1], **options))


INFERENCE = {
    "lenet5": Reference(torch_networks.lenet5, ("s2", "s4", "c5_tanh"), "f6_tanh"),
    **{name: torchvision_model(partial(torchvision.models.get_model, name))
       for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2",
                    "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d")},
    **{name: timm_model(name)
       for name in ("seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152", "seresnext50_32x4d",
                    "seresnext101_32x4d", "seresnext26d_32x4d", "resnet18d", "resnet34d", "resnet50d", "resnet101d",
                    "resnet152d")},
    "plain18": plain_model(2, 2, 2, 2),
    "plain34": plain_model(3, 4, 6, 3),
    **{name: timm_preactivation_model(name)
       for name in ("resnetv2_18", "resnetv2_34", "resnetv2_50", "resnetv2_101", "resnetv2_152")},
    **{f"resnet{6 * n + 2}": cifar_model(n) for n in (1, 3, 5, 7, 9, 18)},
    **{f"plain{6 * n + 2}": cifar_model(n, torch_networks.no_shortcut) for n in (1, 3, 9)},
    **{f"preact_resnet{6 * n + 2}": cifar_preactivation_model(n) for n in (3, 9, 18)},
}  # fmt: skip

TRAINING = {
    "lenet5": INFERENCE["lenet5"],
    "basic": shortened(torchvision.models.resnet.BasicBlock),
    "bottleneck": shortened(torchvision.models.resnet.Bottleneck),
    "plain": plain_model(1, 1, 1, 1),
    "grouped": shortened(torchvision.models.resnet.Bottleneck, groups=32, width_per_group=4),
    "se_basic": timm_model("seresnet18", layers=[1, 1, 1, 1]),
    "se_bottleneck": timm_model("seresnet50", layers=[1, 1, 1, 1]),
    "se_grouped": timm_model("seresnext50_32x4d", layers=[1, 1, 1, 1]),
    "deep_basic": timm_model("resnet18d", layers=[1, 1, 1, 1]),
    "deep_bottleneck": timm_model("resnet50d", layers=[1, 1, 1, 1]),
    "deep_se_grouped": timm_model("seresnext26d_32x4d", layers=[1, 1, 1, 1]),
    "preact_basic": timm_preactivation_model("resnetv2_18", layers=[1, 1, 1, 1]),
    "preact_bottleneck": timm_preactivation_model("resnetv2_50", layers=[1, 1, 1, 1]),
    "resnet8": INFERENCE["resnet8"],
    "plain8": INFERENCE["plain8"],
    "preact_resnet8": cifar_preactivation_model(1),
    **{name: INFERENCE[name] for name in cases.WHOLE},
}


def inference_results(name: str) -> Results:
    """Runs a registered model on two images as for inference."""
    case, reference = cases.INFERENCE[name], INFERENCE[name]
    network = build(case, reference).eval()
    outputs = record_outputs(network, [*reference.stages, reference.pooled])
    with torch.no_grad():
        logits = network(torch.from_numpy(random_images(2, case.image)).double())
    stages = {f"stage {i}": outputs[stage] for i, stage in enumerate(reference.stages, start=1)}
    return results(reference, network, logits, stages | {"pooled": outputs[reference.pooled]})


def training_results(name: str) -> Results:
    """Takes two optimizer steps on four images, the gradients of the first among the results."""
    case, reference = cases.TRAINING[name], TRAINING[name]
    network = build(case, reference).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images = torch.from_numpy(random_images(4, case.image)).double().requires_grad_()
    labels = torch.from_numpy(random_labels(4, cases.NUM_CLASSES))
    optimizer = torch.optim.SGD(parameter_groups(network), cases.LEARNING_RATE, momentum=0.9, nesterov=True)
    steps = [take_step(network, optimizer, images, labels) for _ in range(2)]
    (logits, first), (_, second) = steps
    changes = {f"change of {key}": p.detach() - before[key] for key, p in network.named_parameters()}
    return results(reference, network, logits, first | {"second loss": second["loss"]} | changes)


def take_step(network: nn.Module, optimizer, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """Takes one optimizer step; returns the logits before it, and the loss, gradients and new batch statistics."""
    images.grad = None
    optimizer.zero_grad()
    logits = network(images)
    loss = functional.cross_entropy(logits, labels)
    loss.backward()
    gradients = {f"gradient of {key}": p.grad.clone() for key, p in network.named_parameters()}
    statistics = {key: tensor.clone() for key, tensor in network.state_dict().items() if "running_" in key}
    optimizer.step()
    return logits.detach(), {"loss": loss.detach(), "gradient of images": images.grad, **gradients, **statistics}


def parameter_groups(network: nn.Module) -> list[dict]:
    """Spares vectors (biases, scales of normalisations) the weight decay."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim == 1]
    return [{"params": kernels, "weight_decay": cases.WEIGHT_DECAY}, {"params": vectors}]


def build(case: Case, reference: Reference) -> nn.Module:
    """Returns the network in float64, with the random weights."""
    network = reference.build(num_classes=cases.NUM_CLASSES)
    weights = random_weights(state_shapes(network), case.damped)
    network.load_state_dict({key: torch.from_numpy(w) for key, w in weights.items()}, strict=False)
    return network.double()


def state_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the floating entries of the state dict (the others count batches)."""
    return {key: tuple(t.shape) for key, t in sorted(network.state_dict().items()) if t.is_floating_point()}


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
