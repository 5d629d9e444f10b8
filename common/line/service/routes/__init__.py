"""The operations, one file a subject; each makes a router over a service."""
