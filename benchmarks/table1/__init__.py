"""Table 1 of the paper, rerun: its ten systems trained on the same cases with the same settings, and tested alike.

`budgets` says what is trained how, `cases` makes the patients, `training`, `testing` and `costs` make a result per run,
`collect` gathers them, `tables` and `pictures` show them, `page` writes them into the docs.
"""
