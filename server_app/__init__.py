"""The server as Flower sees it: whom to ask, what to refuse, what to merge."""
