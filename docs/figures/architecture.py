"""`python docs/figures/architecture.py` draws UCA-Net and its skip, with the shapes that the package's own net has.

It writes two SVG files beside the other pictures, for pages with a light and with a dark background.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from crossattn3d import UCANet

IMAGES = Path(__file__).parents[1] / "images"
PATCH = (32, 320, 320)  # the paper's
WIDTH, HEIGHT, CENTER, PANEL = 940, 432, 308, 588
Y, STEP = (84, 178, 272, 366), 47  # of each level, and how much farther in the next one lies


class Level(NamedTuple):
    """The map that a level of the encoder gives, and the sides of its skip's attention maps (0 at the bottom)."""

    channels: int
    size: tuple[int, ...]
    channel_map: int
    slice_map: int


class Theme(NamedTuple):
    """Colors of a drawing."""

    text: str
    soft: str
    encoder: str
    decoder: str
    skip: str
    edge: str


THEMES = {
    "light": Theme("#1f2328", "#59636e", "#90caf9", "#a5d6a7", "#ffcc80", "#455a64"),
    "dark": Theme("#e6edf3", "#9da7b3", "#1565c0", "#2e7d32", "#b35c00", "#b0bec5"),
}


def levels() -> list[Level]:
    """Return the levels of `UCANet(1, 3)` for the paper's patch, as the net computes them, without its memory."""
    sizes: dict[str, torch.Size] = {}

    def note(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: sizes.__setitem__(name, output.shape))

    with FakeTensorMode():
        net = UCANet(1, 3).eval()
        for i, block in enumerate(net.encoder):
            note(f"encoder {i}", block)
        for i, skip in enumerate(net.skips):
            note(f"skip {i}", skip)
        logits: Tensor = net(torch.empty(1, 1, *PATCH))
    assert logits.shape[2:] == PATCH
    maps = [sizes[f"encoder {i}"] for i in range(len(net.encoder))]
    joined = [sizes[f"skip {i}"] for i in range(len(net.skips))]
    assert joined == maps[:-1], "a skip gives a map like the encoder's"
    return [Level(m[1], tuple(m[2:]), *((m[1], m[2]) if i < len(joined) else (0, 0))) for i, m in enumerate(maps)]


def text(x: float, y: float, words: str, *, of: str = "", anchor: str = "middle") -> str:
    """Return a line of text in the style `of`."""
    kind = f' class="{of}"' if of else ""
    return f'<text{kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{words}</text>'


def box(x: float, y: float, width: float, height: float, of: str, corner: float = 3) -> str:
    """Return a box around (x, y)."""
    place = f'x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="{of}" {place} rx="{corner:g}"/>'


def arrow(*points: tuple[float, float]) -> str:
    """Return an arrow through some points."""
    return f'<path class="arrow" d="M{" L".join(f"{x:g} {y:g}" for x, y in points)}"/>'


def net(shown: list[Level]) -> list[str]:
    """Return the U: encoder on the left, decoder on the right, a skip at each level between them."""
    parts = [text(CENTER - 188, 20, "CT patch"), arrow((CENTER - 188, 26), (CENTER - 188, Y[0] - 38))]
    parts += [text(CENTER + 188, 20, "logits"), arrow((CENTER + 188, Y[0] - 36), (CENTER + 188, 28))]
    for i, (y, level) in enumerate(zip(Y, shown, strict=True)):
        left, right, width, height = CENTER - 188 + STEP * i, CENTER + 188 - STEP * i, 14 + 7 * i, 68 - 13 * i
        size = "×".join(str(n) for n in level.size)
        if i == len(shown) - 1:
            parts.append(box(CENTER, y, 62, height, "encoder"))
            parts.append(text(CENTER, y + height / 2 + 17, f"{level.channels} channels", of="strong"))
            parts.append(text(CENTER, y + height / 2 + 33, size, of="soft"))
            continue
        last = i == len(shown) - 2
        parts += [box(left, y, width, height, "encoder"), box(right, y, width, height, "decoder")]
        parts.append(text(left - width / 2 - 8, y - 2, f"{level.channels} channels", of="strong", anchor="end"))
        parts.append(text(left - width / 2 - 8, y + 14, size, of="soft", anchor="end"))
        below = Y[i + 1] - (68 - 13 * (i + 1)) / 2
        bottom = y + height / 2
        if last:
            parts.append(arrow((left, bottom + 2), (left, Y[i + 1]), (CENTER - 33, Y[i + 1])))
        else:
            half_way = (bottom + below) / 2
            parts.append(arrow((left, bottom + 2), (left, half_way), (left + STEP, half_way), (left + STEP, below - 3)))
        parts.append(box(CENTER, y, 76, 44, "skip", 8))
        parts.append(text(CENTER, y + 5, "CSCA", of="strong"))
        parts.append(arrow((left + width / 2 + 2, y), (CENTER - 40, y)))
        parts.append(text((left + width / 2 + CENTER - 38) / 2, y - 6, "E", of="soft"))
        parts.append(arrow((CENTER + 40, y - 11), (right - width / 2 - 4, y - 11)))
        parts.append(text((right - width / 2 + CENTER + 38) / 2, y - 17, "O", of="soft"))
        turn = CENTER + 22 if last else right - STEP
        end = [(turn, y + 25)] if last else [(turn, y + 12), (CENTER + 41, y + 12)]
        parts.append(arrow((turn, below - 3), *end))
        parts.append(text(turn + 8, (below + y + 12) / 2 + 8, "U", of="soft", anchor="start"))
    return parts


def grid(x: float, y: float, side: float, cells: int) -> list[str]:
    """Return a square attention map with its cells."""
    lines = [side * k / cells - side / 2 for k in range(1, cells)]
    cut = "".join(f"M{x + at:g} {y - side / 2:g}v{side:g}M{x - side / 2:g} {y + at:g}h{side:g}" for at in lines)
    return [box(x, y, side, side, "skip", 2), f'<path class="cells" d="{cut}"/>']


def half(y: float, title: str, said: str, names: tuple[str, str, str], map_sizes: str, *, slices: bool) -> list[str]:
    """Return one half of the attention: query and key make a map, which mixes the value."""
    left = PANEL
    parts = [text(left, y, title, of="strong", anchor="start"), text(left, y + 18, said, of="soft", anchor="start")]
    middle = y + 52
    for x, name, of in zip((left + 26, left + 96, left + 236), names, ("decoder", "encoder", "encoder"), strict=True):
        if slices:
            parts += [box(x, middle - 13 + 9 * k, 52, 6, of, 1) for k in range(4)]
        else:
            parts += [box(x, middle, 52, 30, of, 2)]
        parts.append(text(x, middle + 34, name))
    parts += [text(left + 61, middle + 5, "·"), arrow((left + 126, middle), (left + 146, middle))]
    parts += [*grid(left + 172, middle, 40, 4), text(left + 172, middle + 34, "M"), text(left + 202, middle + 5, "·")]
    return [*parts, text(left, middle + 56, map_sizes, of="soft", anchor="start")]


def drawing(shown: list[Level], theme: Theme) -> str:
    """Return the whole figure as SVG."""
    skips = shown[:-1]
    channel_maps = ", ".join(f"{level.channel_map}×{level.channel_map}" for level in skips)
    slice_maps = ", ".join(f"{level.slice_map}×{level.slice_map}" for level in skips)
    style = (
        f"text{{fill:{theme.text};font-size:14px}}.soft{{fill:{theme.soft};font-size:12.5px}}"
        f".strong{{font-weight:600}}.title{{font-weight:600;font-size:15px}}"
        f"rect{{stroke:{theme.edge};stroke-width:1}}.encoder{{fill:{theme.encoder}}}.decoder{{fill:{theme.decoder}}}"
        f".skip{{fill:{theme.skip}}}.cells{{stroke:{theme.edge};stroke-width:.7;fill:none}}"
        f".arrow{{stroke:{theme.edge};stroke-width:1.6;fill:none;marker-end:url(#tip)}}"
    )
    parts = [
        *net(shown),
        f'<path class="cells" d="M{PANEL - 24} 30V{HEIGHT - 24}"/>',
        text(PANEL, 34, "One skip: CSCA", of="title", anchor="start"),
        *half(66, "Channel-wise", "Which encoder channels does each decoder channel need?", ("Q", "Kᵀ", "V"),
              f"M = softmax(s(Q Kᵀ)): {channel_maps}", slices=False),
        *half(218, "Slice-wise", "Which encoder slices does each decoder slice need?", ("q", "kᵀ", "v"),
              f"M = softmax(s(q kᵀ)): {slice_maps}", slices=True),
        text(PANEL, 374, "O = CCA(U, E) + SCA(U, E) + U", of="title", anchor="start"),
        text(PANEL, 394, "U: decoder map. E: encoder map.", of="soft", anchor="start"),
        text(PANEL, 410, "O takes the place of their concatenation.", of="soft", anchor="start"),
    ]  # fmt: skip
    label = "UCA-Net: a U-Net of four levels whose three skips are cross-attention, and the two halves of such a skip"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img" aria-label="{label}">\n'
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{theme.edge}"/></marker></defs>\n<style>{style}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def main() -> None:
    """Write both files."""
    shown = levels()
    for name, theme in THEMES.items():
        (IMAGES / f"architecture-{name}.svg").write_text(drawing(shown, theme), encoding="utf-8")


if __name__ == "__main__":
    main()
