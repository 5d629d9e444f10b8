"""`python -m fedpatchcore`: the command, where its script is not on the path."""

from fedpatchcore.command import main

main()
