"""The recipe of runs that only a fake runtime trains: every folder of tests adds its own `launch` section."""

RECIPE = """\
base_model: ./model
datasets:
  - path: ./rows.jsonl
    type: alpaca
micro_batch_size: 1
learning_rate: 0.0001
max_steps: {steps}
save_steps: 5
"""
