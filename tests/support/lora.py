"""A miniature of peft's LoRA: a wrapper in the place of a layer, which holds it and shows its weight and bias."""

import torch
from torch import Tensor, nn


class LoraConv3d(nn.Module):
    """Layer(x) + B(A(dropout(x))), where only A and B are trained and B starts at 0."""

    def __init__(self, base_layer: nn.Conv3d, rank: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.lora_dropout = nn.Dropout(dropout)
        self.lora_A = nn.Conv3d(base_layer.in_channels, rank, 1, bias=False).to(base_layer.weight)
        self.lora_B = nn.Conv3d(rank, base_layer.out_channels, 1, bias=False).to(base_layer.weight)
        nn.init.zeros_(self.lora_B.weight)

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base_layer.bias

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.lora_B(self.lora_A(self.lora_dropout(x)))
        return self.base_layer(x) + added

    @torch.no_grad()
    def merged(self) -> nn.Conv3d:
        """Return the layer with the product of both matrices added to its weight."""
        self.base_layer.weight += (self.lora_B.weight.flatten(1) @ self.lora_A.weight.flatten(1))[..., None, None, None]
        return self.base_layer


def add_lora(module: nn.Module, *names: str, dropout: float = 0.0) -> dict[str, LoraConv3d]:
    """Freeze a module and wrap its layers of these names, wherever they are; return the wrappers by their places."""
    module.requires_grad_(False)
    found = [path for path, layer in module.named_modules() if path.split(".")[-1] in names]
    wrappers = {path: LoraConv3d(module.get_submodule(path), dropout=dropout) for path in found}
    for path, wrapper in wrappers.items():
        module.set_submodule(path, wrapper)
    return wrappers
