"""A plan: everything about a run decided, priced and pinned before it starts."""
