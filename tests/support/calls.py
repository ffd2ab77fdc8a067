"""Counts the calls of PyTorch that compute something: on a GPU, launches."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

#: Calls that only make or reshape tensors, though PyTorch does not count them among its views; and those of dtypes.
NO_KERNEL = ("empty", "empty_strided", "new_empty", "empty_like", "split", "_unsafe_view", "promote_types")


class Calls(TorchDispatchMode):
    """Counts the calls that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.computing = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = call.name().removeprefix("aten::").split(".")[0]
        self.computing += not (call.is_view or name in NO_KERNEL)
        return call(*args, **(kwargs or {}))
