"""One run: what was asked, and how the models are asked and mixed."""
