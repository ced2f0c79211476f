"""
The models file: which models there are, who answers for them, and what they cost.

`models_file` reads and validates it as a whole, with `table_reader` for one table of it at a time and `upstream_rules`
for what can be sent to an upstream. `model_prices` turns tokens into nano-dollars.
"""
