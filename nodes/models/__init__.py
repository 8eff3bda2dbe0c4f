"""What is mixed: anchors, their files and β, and whether they fit the reference."""
