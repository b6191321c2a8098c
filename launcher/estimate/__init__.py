"""Memory, time and money of a training run, in closed form: no training stack, milliseconds."""
