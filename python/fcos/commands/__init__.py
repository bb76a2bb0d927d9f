"""What each command of the command line does, one a file whose `run` takes the options.

What several of them were given is read by the others: `given_data`, `detectors` with
`detection_rule` and `classes`, `devices`.
"""
