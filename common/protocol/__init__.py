"""What server and station say to each other: messages, Flower's records, rows on the wire."""
