"""The model card of a net that is shared: what it is, how to load it, and what its author says of it."""

from typing import Any

_NOT_STATED = """\
Not stated: data, settings and scores of the training. Do not rely on what it finds before you have measured it on your
own data."""


def model_card(config: dict[str, Any], parameters: int, source: str, text: str | None) -> str:
    """The `README.md` beside the weights, Markdown with the header that the Hugging Face Hub reads.

    Args:
        config: as in `config.json`.
        parameters: how many there are.
        source: folder or repository, as in the example of how to load it.
        text: what the author says of training and scores.
    """
    arguments = "\n".join(f"| `{name}` | `{value}` |" for name, value in config["arguments"].items())
    return f"""\
---
library_name: crossattn3d
pipeline_tag: image-segmentation
tags:
- medical
- 3d
- segmentation
- crossattn3d
---
# {config["class"]}

A {config["class"]} of crossattn3d {config["version"]} with {parameters:,} parameters.
Volumes as (batch, channels, slices, rows, columns) go in, raw logits come out.

```python
from crossattn3d.hub import from_pretrained

net = from_pretrained({source!r})
```

## Training and scores

{(text or _NOT_STATED).strip()}

Not a medical device.

## Arguments

| argument | value |
| --- | --- |
{arguments}
"""
