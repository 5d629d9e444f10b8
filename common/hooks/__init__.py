"""What we use of other libraries though nobody promised to keep it: one table, one look-up."""
