"""`make torture`: kills, damaged files, hostile texts, servers and clients, processes at once, odd places.

    make torture hours=0.3 seed=7            all kinds, time shared evenly
    make torture kind=kill only=fit tries=20
    make torture seed=9 kind=fuzz only=log.csv tries=1     repeats a failure, as printed

A kind is a module with `CASES` (names) and `attempt(case, rng, work)`, which raises where a promise is broken
and returns how many tries it was (None: one).
"""
