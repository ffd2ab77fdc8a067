"""The gate that may follow an attention."""
