"""Scripts for those who work on the pack, run from the clone's root: `python -m tools.docs.make_locales …`.

Nothing in nodes/ or realign_core/ imports them, and the registry's archive leaves them out (.comfyignore).
"""
