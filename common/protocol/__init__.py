"""What server and station say to each other: messages, records, rows on the wire, seals."""
