"""The model card of a shared net: what it is, how to load it, and what its author states about it."""

from typing import Any

_NOT_STATED = """\
Not stated: the data, the settings and the scores of the training. Measure the net on your own data before you rely on
it."""


def model_card(config: dict[str, Any], parameters: int, source: str, text: str | None) -> str:
    """Return the `README.md` beside the weights: Markdown with the header that the Hugging Face Hub reads.

    Args:
        config: the content of `config.json`.
        parameters: the number of parameters.
        source: the folder or repository in the example.
        text: what the author states about training and scores.
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
It takes volumes, (batch, channels, slices, rows, columns), and returns raw logits.

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
