"""A ComfyUI and its Python environment, brought and run."""
