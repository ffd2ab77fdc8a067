"""Output and every gradient of an attention module, by one backend or another."""

from typing import cast

import torch
from torch import Tensor, nn

from crossattn3d.functional import Backend
from support.random_parameters import generator, normal


def output_and_gradients(module: nn.Module, query: Tensor, context: Tensor, backend: Backend) -> dict[str, Tensor]:
    """By name: the output, the gradients of both maps, and the gradient of every parameter.

    The loss is the output weighed with fixed random numbers, so that no gradient is a plain sum in which an
    error could cancel.
    """
    for part in module.modules():
        if hasattr(part, "backend"):
            part.backend = backend
    query, context = query.detach().requires_grad_(), context.detach().requires_grad_()
    out = cast("Tensor", module(query, context))
    weights = normal(tuple(out.shape), generator(99)).to(out)
    parameters = dict(module.named_parameters())
    inputs = {"query": query, "context": context, **parameters}
    gradients = torch.autograd.grad((weights * out).sum(), list(inputs.values()))
    return {"output": out.detach(), **dict(zip(inputs, gradients, strict=True))}
