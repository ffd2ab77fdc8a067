"""Find the CTs in files, folders and zips. What else is there is skipped, and a line for each reason says so."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ltvs.prediction.names import short_digest, tell_apart
from ltvs.prediction.record import RECORDS
from ltvs.prediction.series import Header, read_header, sort_into_series
from ltvs.runtime.errors import InputError, few
from ltvs.sources.archives import DEEPEST, unpacked
from ltvs.volume.images import VOLUME_SUFFIXES, stem

#: Endings of files that are neither a volume nor DICOM, and are not looked into.
_OTHERS = (".bmp", ".csv", ".css", ".doc", ".docx", ".exe", ".gif", ".gz", ".htm", ".html", ".inf", ".jpeg", ".jpg",
           ".js", ".json", ".log", ".md", ".mp4", ".obj", ".pdf", ".ply", ".png", ".py", ".rtf", ".stl", ".svg", ".tif",
           ".tiff", ".tsv", ".txt", ".vtk", ".vtp", ".xls", ".xlsx", ".xml", ".yaml", ".yml")  # fmt: skip

#: Begins the reason to pass over a series that --force would take.
OTHER_MODALITY = "Modality "
#: The reason to pass over a file of a series that has no others.
SINGLE = "single slice"
_OWN = "written by this command"
_FOREIGN = "neither a volume nor DICOM"


@dataclass(frozen=True)
class Root:
    """A file or folder to look into.

    Args:
        path: where it is.
        shown: as it is told to the user: inside a zip, the path of that comes first.
        names: that come first in those of its cases: the zip, and the folders above it.
        depth: zips that it lies in.
    """

    path: Path
    shown: str
    names: tuple[str, ...] = ()
    depth: int = 0

    def inside(self, path: Path) -> str:
        """Return how a path in it is told to the user."""
        return self.shown if path == self.path else str(Path(self.shown, path.relative_to(self.path)))


@dataclass(frozen=True)
class FoundCT:
    """A CT that was found, not yet read.

    Args:
        place: volume file, or the folder that holds the slices, in it or below it.
        shown: the same, as it is told to the user.
        slices: files of a DICOM series; None for a volume file.
        names: for the case, ever more specific.
        problem: why it cannot be labeled, if that is known already.
        name: of the case.
    """

    place: Path
    shown: str
    slices: tuple[Path, ...] | None
    names: tuple[str, ...]
    problem: str = ""
    name: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that hold it."""
        return (self.place,) if self.slices is None else self.slices

    @property
    def size(self) -> int:
        """Bytes of these."""
        return sum(file.stat().st_size for file in self.files)


@dataclass
class Findings:
    """What inputs hold.

    Args:
        cts: to label, each with its name.
        passed_over: what else there is, by the reason.
    """

    cts: list[FoundCT] = field(default_factory=list)
    passed_over: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> list[str]:
        """Return a line for each reason to pass over something."""
        return [f"skipped ({why}): {few(places)}" for why, places in sorted(self.passed_over.items())]


@contextmanager
def found_cts(inputs: Sequence[Path], *, force: bool = False) -> Iterator[Findings]:
    """Yield the CTs in all inputs; those in zips lie in temporary folders meanwhile.

    Args:
        inputs: volume files, DICOM files, zips, and folders of all these.
        force: take series of other modalities as CTs, too.

    Raises:
        InputError: an input does not exist, or is a zip that cannot be unpacked.
    """
    with ExitStack() as temporary:
        search = _Search(Findings(), force, temporary)
        for path in dict.fromkeys(inputs):
            search.look_at(Root(path, str(path)))
        search.add_given()
        findings = search.findings
        found = _each_once(findings.cts)
        names = tell_apart([ct.names for ct in found])
        findings.cts = sorted(
            (replace(ct, name=name) for ct, name in zip(found, names, strict=True)), key=lambda ct: ct.name
        )
        yield findings


@dataclass
class _Search:
    findings: Findings
    force: bool
    temporary: ExitStack
    #: DICOM files that are inputs themselves, by folder: several may be slices of one series.
    given: dict[Path, list[Header]] = field(default_factory=lambda: defaultdict(list))

    def look_at(self, root: Root) -> None:
        path = root.path
        if not path.exists():
            raise InputError(f"{root.shown}: does not exist")
        if path.is_dir():
            self._look_into(root, path)
        elif path.suffix.lower() == ".zip":
            self._look_into(replace(root, names=(path.stem,), depth=1), self._unpack(path))
        elif _is_volume(path) or (header := read_header(path)) is None:
            # Reading it says what is wrong with a file that is neither.
            self.findings.cts.append(_volume(Root(path.parent, str(path.parent)), path))
        else:
            self.given[path.parent].append(header)

    def add_given(self) -> None:
        """Add the series of the DICOM files that are inputs themselves."""
        for folder, headers in self.given.items():
            self._add_series(Root(folder, str(folder)), headers)

    def _look_into(self, root: Root, folder: Path) -> None:
        """Look for CTs in a folder, and in the zips in it."""
        inside = replace(root, path=folder)
        headers: list[Header] = []
        damaged: list[tuple[Path, str]] = []
        suspect: list[Path] = []

        def fail(error: OSError) -> None:
            why = f"{inside.inside(Path(error.filename))}: cannot be read ({error.strerror}), and may hold a CT"
            damaged.append((Path(error.filename), why))

        for path in _files(folder, fail, lambda why, one: self._pass_over(why, [inside.inside(one)])):
            if _is_volume(path):
                self.findings.cts.append(_volume(inside, path))
            elif path.suffix.lower() == ".zip":
                if path.with_suffix("").is_dir():
                    self._pass_over("a zip beside a folder of the same name", [inside.inside(path)])
                else:
                    self._look_into_zip(inside, path)
            elif path.suffix.lower() in _OTHERS or path.name.upper() == "DICOMDIR":
                self._pass_over(_FOREIGN, [inside.inside(path)])
            else:
                try:
                    header = read_header(path)
                except InputError as error:
                    damaged.append((path, str(error).replace(str(path), inside.inside(path))))
                    continue
                if header is not None:
                    headers.append(header)
                elif path.suffix.lower() == ".dcm" or path.stat().st_size == 0:
                    suspect.append(path)
                else:
                    self._pass_over(_FOREIGN, [inside.inside(path)])
        beside_slices = {header.path.parent for header in headers if not header.unfit}
        for path in suspect:
            if path.parent in beside_slices:
                why = f"{inside.inside(path)}: is beside slices, but no DICOM; copy it again, or remove it"
                damaged.append((path, why))
            else:
                self._pass_over(_FOREIGN, [inside.inside(path)])
        self._add_series(inside, headers, damaged)

    def _look_into_zip(self, inside: Root, path: Path) -> None:
        shown = inside.inside(path)
        try:
            if inside.depth == DEEPEST:
                raise InputError(f"{path}: lies in {DEEPEST} zips; unpack it, and give the folder")
            above = path.relative_to(inside.path).parts[:-1]
            names = (*inside.names, *above, path.stem)
            self._look_into(Root(path, shown, names, inside.depth + 1), self._unpack(path))
        except InputError as error:
            why = str(error).replace(str(path), shown)
            self.findings.cts.append(FoundCT(path, shown, None, _names(inside, path, path.stem), why))

    def _unpack(self, path: Path) -> Path:
        # Zips in it are looked into one by one, so that a broken one costs its own CTs alone.
        return self.temporary.enter_context(unpacked(path, "", _is_used, inner=False))[-1]

    def _pass_over(self, why: str, places: Iterable[str]) -> None:
        self.findings.passed_over[why].extend(places)

    def _add_series(self, inside: Root, headers: Iterable[Header], damaged: Sequence[tuple[Path, str]] = ()) -> None:
        """Add the series that are CTs; one with a damaged file beside its slices may lack that one."""
        fit: list[list[Header]] = []
        for series in sort_into_series(headers):
            unfit = defaultdict(list)
            for one in series:
                unfit[one.unfit or self._not_in_hu(one)].append(one)
            slices = unfit.pop("", [])
            if len(slices) == 1 and slices[0].frames == 1:
                unfit[SINGLE] += slices
                slices = []
            for why, files in unfit.items():
                self._pass_over(why, [inside.inside(_folder_of(files) if len(files) > 1 else files[0].path)])
            if slices:
                fit.append(slices)
        folders = [_folder_of(slices) for slices in fit]
        blamed: set[Path] = set()
        for slices, folder in zip(fit, folders, strict=True):
            parents = {one.path.parent for one in slices}
            problem = next((why for path, why in damaged if path.parent in parents), "")
            blamed |= {path for path, _ in damaged if path.parent in parents}
            alone = folders.count(folder) == 1
            self.findings.cts.append(_series(inside, folder, slices, alone, problem))
        for path, why in damaged:
            if path not in blamed:
                self.findings.cts.append(FoundCT(path, inside.inside(path), None, _names(inside, path, path.stem), why))

    def _not_in_hu(self, header: Header) -> str:
        if self.force:
            return ""
        if header.has_bytes:
            return "8-bit masks or pictures"
        if header.modality in ("CT", ""):
            return ""
        return f"{OTHER_MODALITY}{header.modality}"


def _files(folder: Path, fail: Callable[[OSError], object], pass_over: Callable[[str, Path], object]) -> Iterator[Path]:
    """Yield the visible files in a folder and below it, in the order of their names, links followed."""
    seen = set()
    for name, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        here = Path(name)
        if (real := os.path.realpath(here)) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        if RECORDS in folders:
            pass_over(_OWN, here)
            folders.clear()
            continue
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one != "__MACOSX")
        for file in sorted(files):
            path = here / file
            if file.startswith("."):
                continue
            if path.is_symlink() and not path.exists():
                pass_over("broken link", path)
            elif path.is_file():
                if _is_volume(path) and f"{stem(path)}.measurements.json" in files:
                    pass_over(_OWN, path)
                else:
                    yield path


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def _is_used(path: PurePosixPath) -> bool:
    """Return whether a file in a zip is worth unpacking."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and (_is_volume(Path(path)) or path.suffix.lower() not in _OTHERS)


def _volume(inside: Root, path: Path) -> FoundCT:
    return FoundCT(path, inside.inside(path), None, _names(inside, path, stem(path)))


def _series(inside: Root, folder: Path, slices: Sequence[Header], alone: bool, problem: str) -> FoundCT:
    """Return a series as a CT, named by its folder, its number in it, and what else tells it apart."""
    first = slices[0]
    base = (*inside.names, Path(inside.shown).resolve().name)[0] if folder == inside.path else folder.name
    numbered = f"{base}_{first.number or short_digest(first.series[1])}"
    names = _names(inside, folder, base if alone else numbered)
    unique = f"{names[0]}_{first.patient}", f"{names[0]}_{short_digest(' '.join(first.series))}"
    files = tuple(one.path for one in slices)
    shown = inside.inside(folder) if alone else f"{inside.inside(folder)} (series {first.number or first.series[1]})"
    return FoundCT(folder, shown, files, (*names[:-1], *unique, names[-1]), problem)


def _names(inside: Root, path: Path, base: str) -> tuple[str, ...]:
    """Return names for what lies at a path, each with more of the folders above it."""
    within = path.relative_to(inside.path).parts[:-1]
    # A zip often holds a folder of its own name.
    outer = inside.names[:-1] if (*within, base)[0] == (*inside.names[-1:], "")[0] else inside.names
    first = "_".join([*outer, *within, base])
    above = Path(inside.shown).absolute().parts[1 : -1 if path == inside.path or inside.names else None]
    longer = ["_".join([*above[k:], first]) for k in range(len(above) - 1, -1, -1)]
    # A file of the same name beside it may end otherwise.
    return (first, *longer, f"{first}-{short_digest(inside.inside(path))}")


def _folder_of(files: Sequence[Header]) -> Path:
    """Return the folder that all files are in or below."""
    return Path(os.path.commonpath([one.path.parent for one in files]))


def _each_once(found: Sequence[FoundCT]) -> list[FoundCT]:
    """Leave out CTs that another input holds already."""
    unique: dict[tuple[str, ...], FoundCT] = {}
    for ct in found:
        unique.setdefault(tuple(os.path.realpath(file) for file in ct.files), ct)
    return list(unique.values())
