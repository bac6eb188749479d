"""The `wherry` command: one module per group of commands, each a thin caller of wherry.Client."""
