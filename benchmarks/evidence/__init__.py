"""Does λ do what retraining does? What `make evidence` and `make evidence-exact` measure, and how.

distances.py   samples against a known density       paired.py   scores of the same prompts and seeds, with bootstrap
plots.py       scatter, ECDF, Bland-Altman, curves   kept.py     results outside the clone, so that a killed run goes on
exact_….py     the worlds where every β is known: worlds, networks trained on them, cases, runs, report, plot
learned_….py   pictures of learned networks: the networks and their training, cases, studies, scores, what was found,
               report, sentences, plot; comfy_nodes/ loads the networks in the ComfyUI that makes the pictures
held_out.py    Diffusion-DPO's loss on pairs that no training saw
"""
