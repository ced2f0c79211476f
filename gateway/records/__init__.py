"""
What remains of a request: `request_log` writes its line, `metrics` counts it. Prompts and answers are in neither.
"""
