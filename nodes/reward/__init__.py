"""What is good: rewards, a file each, and what every reward is asked through (protocol.py)."""
