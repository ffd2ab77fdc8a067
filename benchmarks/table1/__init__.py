"""Table 1 of the paper, run again: its ten systems, trained with the same settings on the same cases and tested alike.

`budgets` says how long each system trains, and `cases` makes the patients. `training`, `testing` and `costs` make one
result for each run. `collect` gathers the results, `tables` and `pictures` show them, and `page` writes them into the
docs.
"""
