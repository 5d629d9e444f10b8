"""How a station may be called: a name that is no path, on every machine of the plant."""

STATION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
