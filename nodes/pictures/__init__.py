"""What is drawn: labels, plots, sheets, and what a graph says of the run behind a picture."""
