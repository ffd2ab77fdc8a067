"""The other systems of the paper's Table 1, one file each, written from their descriptions; `registry` lists all ten,
`parts` holds what they are built of.

Every one takes a CT patch, (b, c, d, h, w) of any size, and returns raw logits, (b, classes, d, h, w).
"""
