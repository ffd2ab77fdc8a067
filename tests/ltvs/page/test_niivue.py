"""NiiVue is found in the installed package, or one line says why not."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from ltvs.page import niivue
from ltvs.page.niivue import WIDGET, installed_viewer
from ltvs.runtime.errors import InputError

MODULE = f'var a="1";{"/* long */" * 120_000}export{{a,b as NVMesh,NVImage,Niivue}};'


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, widget: str | None, license_text: str | None) -> None:
    """Put a package of our own in the place of the installed one."""
    files = {WIDGET: widget, "x.dist-info/licenses/LICENSE": license_text}
    for name, text in files.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    listed = [SimpleNamespace(name=Path(name).name, locate=lambda n=name: folder / n) for name in files if files[name]]
    found = SimpleNamespace(version="9.9", files=listed, locate_file=lambda name: folder / name)
    monkeypatch.setattr(niivue, "distribution", lambda _: found)


def widget(module: str) -> str:
    return f'var x="var%20short";let other="{quote(module)}";export{{x}}'


def test_it_is_in_the_installed_package() -> None:
    viewer = installed_viewer()
    assert viewer.module.startswith("var ")
    assert viewer.module.rstrip().endswith("};")
    assert "setCustomLayout(" in viewer.module
    assert "Redistribution and use" in viewer.license
    assert "%20cb" not in viewer.module[:200]


def test_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, widget(MODULE), "Rights\n")
    assert installed_viewer() == niivue.Viewer(MODULE, "Rights", "9.9")


@pytest.mark.parametrize(
    "text",
    [
        "export default 1",
        widget(MODULE[:1000]),
        widget(MODULE.replace("Niivue", "Viewer")),
        widget(MODULE.replace("export{", "module({")),
        widget(MODULE)[:-200],
    ],
    ids=["nothing", "too short", "another export", "no module", "cut off"],
)
def test_another_layout_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, text, "Rights")
    with pytest.raises(InputError, match=r"^ipyniivue 9\.9: expected NiiVue's module in .*widget\.js, found none"):
        installed_viewer()


def test_a_missing_widget_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, None, "Rights")
    with pytest.raises(InputError, match=r"expected .*widget\.js that can be read \(No such file"):
        installed_viewer()


def test_a_package_without_license_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, widget(MODULE), None)
    with pytest.raises(InputError, match=r"expected a license, found none"):
        installed_viewer()


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(niivue, "distribution", missing)
    with pytest.raises(InputError, match=r'needs ipyniivue \(not installed\); run pip install "\.\[view\]"'):
        installed_viewer()
