"""A page to look at a labeled CT: one file that opens in a browser, offline.

May import `delivery`, `measurement`, `volume` and `runtime`.
"""

from ltvs.page.page_file import write_page

__all__ = ["write_page"]
