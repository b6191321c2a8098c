"""Training: what the Trainer is told, what is written down while it works, and how it stops, resumes and ends."""
