"""Names of cases: safe as file names, distinct on every file system, and the same from run to run."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

#: Bytes of a name at most: file systems take 255, and endings and temporary names come on top.
LONGEST = 100

#: Characters that no name may hold on some system.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\s]+')
#: Names of devices on Windows, with any ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(text: str) -> str:
    """Return a text as the name of a file: no path, not hidden, in UTF-8, and not too long.

    Example:
        >>> safe_name("../p 1/CT\\n"), safe_name("Größe 肝臓"), safe_name("..")
        ('p_1_CT', 'Größe_肝臓', 'ct')
    """
    shown = "".join(one if one.isprintable() or one.isspace() else "_" for one in unicodedata.normalize("NFC", text))
    # A leading dot hides a file, a dash makes it an option, and a sign makes it a formula in a spreadsheet.
    name = _FORBIDDEN.sub("_", shown).strip("._ ").lstrip(".-=+@_ ")
    if _DEVICES.fullmatch(name):
        name = f"{name.partition('.')[0]}_{name.partition('.')[2]}"
    if len(name.encode()) > LONGEST:
        name = f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}-{short_digest(text)}"
    return name or "ct"


def short_digest(text: str) -> str:
    """Return eight hexadecimal digits that depend on every character of a text."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:8]


def tell_apart(candidates: Sequence[Sequence[str]]) -> list[str]:
    """Return a safe name for each case, all different, also where capitals do not count.

    Args:
        candidates: of each case, ever more specific; the first that no other case has is taken, whatever their order.

    Example:
        >>> tell_apart([["ct", "a_ct"], ["CT", "b_CT"], ["liver"]])
        ['a_ct', 'b_CT', 'liver']
    """
    names: dict[int, str] = {}
    level = 0
    while len(names) < len(candidates):
        open_cases = [k for k in range(len(candidates)) if k not in names]
        tried = {k: _candidate(candidates[k], level, k) for k in open_cases}
        taken = {name.casefold() for name in names.values()}
        count = Counter(name.casefold() for name in tried.values())
        names |= {k: name for k, name in tried.items() if count[name.casefold()] == 1 and name.casefold() not in taken}
        level += 1
    return [names[k] for k in range(len(candidates))]


def _candidate(candidates: Sequence[str], level: int, index: int) -> str:
    if level < len(candidates):
        return safe_name(candidates[level])
    # The same CT given twice, under names that all are the same.
    return f"{safe_name(candidates[-1])}-{index + 1}" + "_" * (level - len(candidates))
