"""The commands of `fedpatchcore`, one file for each subject."""
