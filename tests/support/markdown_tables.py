"""Tables of a page as a test reads them."""


def rows_of(table: str) -> dict[str, dict[str, str]]:
    """Cells by variant and heading."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    assert len({len(line) for line in lines}) == 1, "a row with too many or too few cells"
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
