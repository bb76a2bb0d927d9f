"""The options of the command line: what each command takes. Nothing here imports torch."""
