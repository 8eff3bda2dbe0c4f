"""Does λ do what retraining does? What `make evidence-exact` (and evidence on pictures) measure, and how.

distances.py   samples against a known density       paired.py   scores of the same prompts and seeds, with bootstrap
plots.py       scatter, ECDF, Bland-Altman, curves   kept.py     results outside the clone, so that a killed run goes on
exact_….py     the worlds where every β is known: worlds, networks trained on them, cases, runs, report, plot
"""
