"""Checks of what users give: options, maps, nets, images; every error says who, expected, got and the remedy."""
