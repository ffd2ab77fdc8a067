"""The metadata that a MONAI bundle must have."""


def mandatory() -> dict[str, object]:
    """Return a JSON schema, in the form that verify_metadata reads, of what MONAI's specification requires.

    MONAI's own schema would have to be downloaded, which tests do not do.
    """
    text, names = {"type": "string", "minLength": 1}, {"type": "object", "additionalProperties": {"type": "string"}}
    tensor = {
        "type": "object",
        "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
                     "channel_def"],
        "properties": {
            "type": {"enum": ["image", "series", "tuples", "probabilities"]},
            "format": {"enum": ["magnitude", "hounsfield", "kspace", "raw", "labels", "classes", "segmentation"]},
            "modality": text,
            "num_channels": {"type": "integer", "minimum": 1},
            "spatial_shape": {"type": "array", "items": {"anyOf": [{"type": "integer", "minimum": 1}, text]}},
            "dtype": text,
            "value_range": {"type": "array", "items": {"type": "number"}},
            "is_patch_data": {"type": "boolean"},
            "channel_def": names,
        },
    }  # fmt: skip
    tensors = {"type": "object", "minProperties": 1, "additionalProperties": tensor}
    data_format = {"type": "object", "required": ["inputs", "outputs"], "additionalProperties": tensors}
    texts = ["version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
             "copyright", "schema", "name", "intended_use"]  # fmt: skip
    properties = dict.fromkeys(texts, text) | {"changelog": names, "required_packages_version": names}
    properties |= {"references": {"type": "array", "items": text}, "network_data_format": data_format}
    return {"type": "object", "required": list(properties), "properties": properties}
