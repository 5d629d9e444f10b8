"""The only open port: an nginx that follows the plant, and the program that watches it."""
