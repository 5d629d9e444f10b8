"""A station as Flower sees it: messages in, messages out."""
