"""A real plant: keys, the station file, and the processes on server and stations."""
