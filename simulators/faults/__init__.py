"""
What a test can ask for, and what it can look at afterwards.

`directives` reads the script from the prompt, `faults` overlays what a test has queued, `record` keeps the truth about
what was served, and `refusals` is how a request is turned away.
"""
