"""The figures of the docs: the architecture shows the shapes of the package's own net; patients can be drawn again."""

from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from ltvs.phantom.maps import open_maps
from support.docs_scripts import docs_script

FOLDER = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def architecture() -> ModuleType:
    return docs_script("figures/architecture")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_is_drawn_from_the_net(architecture: ModuleType, theme: str) -> None:
    drawn = architecture.drawing(architecture.levels(), architecture.THEMES[theme])
    kept = (FOLDER / "images" / f"architecture-{theme}.svg").read_text(encoding="utf-8")
    assert kept == drawn, "run python docs/figures/architecture.py"


def test_its_words_lie_within_it() -> None:
    tree = ElementTree.parse(FOLDER / "images" / "architecture-light.svg").getroot()
    width, height = map(float, tree.attrib["viewBox"].split()[2:])
    words = [node for node in tree.iter() if node.tag.endswith("text")]
    assert {"32 channels", "256 channels", "32×320×320", "4×40×40"} <= {node.text for node in words}
    for node in words:
        # Letters of sans-serif type are about half as wide as high: 12.5 pixels, or 14 and 15 in part bold.
        letter = 6.3 if node.attrib.get("class") == "soft" else 8.5
        long, x = letter * len(node.text or ""), float(node.attrib["x"])
        left = x - {"start": 0, "middle": long / 2, "end": long}[node.attrib["text-anchor"]]
        assert left >= 0, node.text
        assert left + long <= width, node.text
        assert 0 < float(node.attrib["y"]) <= height


def test_scenes_of_a_patient_are_drawn(coarse_maps: Path) -> None:
    patients = docs_script("figures/patients")
    scenes = patients.rows(open_maps(coarse_maps), np.random.default_rng(0))
    assert len(scenes) == patients.EACH
    for scene, outlined in scenes:
        index = patients.busiest(scene)
        counted = [np.count_nonzero(scene.labels[index] == label) for label in (3, 1)]
        whole = [np.count_nonzero(scene.labels == label) for label in (3, 1)]
        assert counted[0] or not whole[0], "a slice with tumor, where the scene has one"
        axes = Figure().subplots()
        patients.draw(axes, scene, index, outlined=outlined)
        assert np.array_equal(axes.images[0].get_array(), scene.hu[index])
        kinds = sum((scene.labels[index] == label).any() for label in patients.COLORS)
        assert len(axes.collections) == (kinds if outlined else 0)
