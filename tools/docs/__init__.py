"""Translations, the help pages' tables, and the pictures of help pages, README and registry."""
